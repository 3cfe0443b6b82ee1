"""What an image weighs in a queue and against a limit: its bytes, or what its pixels count for if that is more.

A file of 48 kB can have 50 million pixels, which take as long to decode as a photograph of many megabytes.
"""

from __future__ import annotations

from penstock_common.image_header import read_header

#: Photographs have fewer, so that they weigh as much as their files.
_PIXELS_PER_BYTE = 6
#: Scans of a JPEG beyond the first that take as long as the first.
_SCANS_AS_ONE = 3


def image_weight(image: bytes) -> int:
    """The weight of a file in bytes; the pixels of a JPEG count more if it has several scans."""
    try:
        header = read_header(image)
    except ValueError:  # a file that is refused before it is decoded
        header = None
    if header is None:
        return len(image)
    passes = 1 + max(0, header.scans - 1) // _SCANS_AS_ONE
    return max(len(image), header.pixels * passes // _PIXELS_PER_BYTE)

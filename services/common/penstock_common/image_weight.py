"""What an image weighs in a queue and against a limit: its bytes, or what its pixels count for if that is more.

A file of 48 kB can have 50 million pixels, which take as long to decode as a photograph of many megabytes.
"""

from __future__ import annotations

from penstock_common.image_header import read_header

#: Photographs have fewer, so that they weigh as much as their files.
PIXELS_PER_BYTE = 6


def image_weight(image: bytes) -> int:
    """The weight of a file in bytes; the pixels of a JPEG count once for each scan."""
    try:
        header = read_header(image)
    except ValueError:  # a file that is refused before it is decoded
        header = None
    return len(image) if header is None else max(len(image), header.pixels * header.scans // PIXELS_PER_BYTE)

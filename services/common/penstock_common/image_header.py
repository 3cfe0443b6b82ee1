"""What an image's header says of the work that its pixels will be.

Nothing is decoded. Every loop is bounded, and what follows the headers is only searched
for the starts of scans. The walks find at least what Pillow finds, which takes the last of
several sizes: the largest is returned. A header that they cannot follow has no size,
and the decoder refuses such a file without decoding it.

Formats: PNG (ISO/IEC 15948), JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock_common.image_format import PNG, image_type

#: Chunks, segments or fill bytes before the pixels. ICC profiles and EXIF data take one for each 64 kB.
MAX_SEGMENTS = 512

_START_OF_SCAN = 0xDA
#: SOF0 to SOF15, without DHT, JPG and DAC that lie between them.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers without a length: TEM, RST0 to RST7, SOI, EOI; and those that no baseline or progressive file has.
_BARE = frozenset([0x01, *range(0xD0, 0xDA), *range(0xF0, 0xFE)])


class ImageHeader(NamedTuple):
    """``pixels`` of one frame, and how often a decoder passes over them: ``scans``, 1 except in a JPEG."""

    pixels: int
    scans: int = 1


def read_header(image: bytes) -> ImageHeader | None:
    """The header of a PNG, JPEG or WebP file; None if the file starts as none of them does.

    Raises:
        ValueError: there are more than ``MAX_SEGMENTS`` chunks or segments before the pixels.
    """
    match image_type(image):
        case "image/png":
            return ImageHeader(_png_pixels(image))
        case "image/jpeg":
            return _jpeg(image)
        case "image/webp":
            return ImageHeader(_webp_pixels(image))
    return None


def _png_pixels(image: bytes) -> int:
    pixels = 0
    at = len(PNG)
    for _ in range(MAX_SEGMENTS):
        kind = image[at + 4 : at + 8]
        if len(kind) < 4 or kind == b"IDAT":
            return pixels
        if kind == b"IHDR":
            width = int.from_bytes(image[at + 8 : at + 12], "big")
            height = int.from_bytes(image[at + 12 : at + 16], "big")
            pixels = max(pixels, width * height)
        at += 12 + int.from_bytes(image[at : at + 4], "big")
    raise ValueError("chunks")


def _jpeg(image: bytes) -> ImageHeader:
    pixels = 0
    at = 2
    for _ in range(MAX_SEGMENTS):
        at = image.find(b"\xff", at)  # decoders skip what stands between segments
        if at < 0 or at + 2 >= len(image):
            return ImageHeader(pixels)
        marker = image[at + 1]
        if marker == _START_OF_SCAN:
            return ImageHeader(pixels, _scans(image, at))
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _BARE or marker == 0:
            at += 2
            continue
        if marker in _START_OF_FRAME:
            height = int.from_bytes(image[at + 5 : at + 7], "big")
            width = int.from_bytes(image[at + 7 : at + 9], "big")
            pixels = max(pixels, width * height)
        at += 2 + max(2, int.from_bytes(image[at + 2 : at + 4], "big"))
    raise ValueError("segments")


def _scans(image: bytes, at: int) -> int:
    """How many scans begin from ``at`` on; ``bytes.count`` takes four times as long."""
    data = np.frombuffer(image, np.uint8, offset=at)
    return int(np.count_nonzero(data[1:][data[:-1] == 0xFF] == _START_OF_SCAN))


def _webp_pixels(image: bytes) -> int:
    """The larger of the canvas (VP8X) and the first frame (VP8, VP8L)."""
    pixels = 0
    at = 12
    for _ in range(MAX_SEGMENTS):
        kind = image[at : at + 4]
        data = image[at + 8 : at + 18]
        if len(data) < 10:
            return pixels
        if kind == b"VP8X":
            width = 1 + int.from_bytes(data[4:7], "little")
            height = 1 + int.from_bytes(data[7:10], "little")
            pixels = max(pixels, width * height)
        elif kind == b"VP8 ":
            width = int.from_bytes(data[6:8], "little") & 0x3FFF
            height = int.from_bytes(data[8:10], "little") & 0x3FFF
            return max(pixels, width * height)
        elif kind == b"VP8L":
            bits = int.from_bytes(data[1:5], "little")
            return max(pixels, ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1))
        size = int.from_bytes(image[at + 4 : at + 8], "little")
        at += 8 + size + (size & 1)
    raise ValueError("chunks")

"""What an image's header says of its pixels, for files as encoders write them and as attackers do."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from penstock_common.image_header import MAX_SEGMENTS, ImageHeader, read_header


def encoded(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((123, 45), 50).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + bytes(4)


def ihdr(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">II", width, height) + bytes(5))


def segment(marker: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))


PNG = b"\x89PNG\r\n\x1a\n"
SOI = b"\xff\xd8"
SCAN = segment(0xDA, bytes(4)) + b"\x12\xff\x00\x34"


@pytest.mark.parametrize(
    ("kind", "options", "scans"),
    [
        ("PNG", {}, 1),
        ("PNG", {"optimize": True}, 1),
        ("JPEG", {}, 1),
        ("JPEG", {"progressive": True}, 10),
        ("JPEG", {"exif": b"Exif\0\0" + b"\xff\xda\xff\xc0" * 100, "comment": b"\xff" * 99}, 1),
        ("WEBP", {}, 1),
        ("WEBP", {"lossless": True}, 1),
        ("WEBP", {"exif": b"Exif\0\0odd"}, 1),
    ],
)
def test_real_files(kind: str, options: dict[str, Any], scans: int) -> None:
    """Files that Pillow writes have the pixels and scans that they have; metadata does not mislead."""
    assert read_header(encoded(kind, **options)) == ImageHeader(123 * 45, scans)


@pytest.mark.parametrize("other", [b"", b"GIF89a....", b"RIFF1234WAVE....", b"\x89PNG", b"\xff\xd8"])
def test_other_files_have_no_header(other: bytes) -> None:
    """What starts as none of the formats is none of them."""
    assert read_header(other) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_any_prefix_of_a_file_is_read_without_a_failure(kind: str) -> None:
    """A cut file has the header that it has, or no size."""
    whole = encoded(kind)
    for end in range(12, 800):
        header = read_header(whole[:end])
        assert header is not None
        assert header.pixels in (0, 123 * 45)


@pytest.mark.parametrize(
    ("crafted", "pixels"),
    [
        (PNG + ihdr(1, 1) + ihdr(7000, 7000) + chunk(b"IDAT"), 49_000_000),
        (PNG + ihdr(7000, 7000) + ihdr(1, 1) + chunk(b"IDAT"), 49_000_000),
        (PNG + chunk(b"tEXt", b"IHDR") + ihdr(7000, 7000), 49_000_000),
        (PNG + ihdr(2**32 - 1, 2**32 - 1), (2**32 - 1) ** 2),
        (SOI + frame(1, 1) + frame(7000, 7000, 0xC2) + SCAN, 49_000_000),
        (SOI + frame(7000, 7000) + frame(1, 1) + SCAN, 49_000_000),
        (SOI + b"\xff\xff\xff" + segment(0xE0, bytes(9)) + b"junk" + frame(7000, 7000) + SCAN, 49_000_000),
        (SOI + b"\xff\xd0\xff\x01" + b"\xff\x00" + frame(7000, 7000) + SCAN, 49_000_000),
        (SOI + segment(0xC4, bytes(20)) + frame(7000, 7000, 0xCF) + SCAN, 49_000_000),
    ],
)
def test_the_largest_of_several_sizes_counts(crafted: bytes, pixels: int) -> None:
    """A second header, junk between segments and fill bytes do not hide the size that a decoder would take."""
    header = read_header(crafted)
    assert header is not None
    assert header.pixels == pixels


def test_a_frame_larger_than_its_canvas_counts() -> None:
    """The canvas and the first frame of a WebP may differ; the larger one counts."""
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (6999).to_bytes(3, "little") * 2
    small = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + bytes(9)
    body = b"WEBP" + canvas + small
    header = read_header(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert header == ImageHeader(49_000_000)


def test_all_scans_are_counted() -> None:
    """6,000 empty scans are 6,000."""
    assert read_header(SOI + frame(800, 600, 0xC2) + SCAN * 6000) == ImageHeader(480_000, 6000)


@pytest.mark.parametrize(
    "crafted",
    [
        PNG + chunk(b"tEXt") * (MAX_SEGMENTS + 1),
        SOI + segment(0xFE) * (MAX_SEGMENTS + 1),
        SOI + b"\xff" * 1_000_000,
        SOI + b"\xff\x00" * 1_000_000,
        b"RIFF\0\0\0\0WEBP" + (b"JUNK" + bytes(4)) * (MAX_SEGMENTS + 3),
    ],
)
def test_the_walk_to_the_pixels_is_bounded(crafted: bytes) -> None:
    """A file of nothing but tiny segments is given up."""
    with pytest.raises(ValueError, match=r"chunks|segments"):
        read_header(crafted)

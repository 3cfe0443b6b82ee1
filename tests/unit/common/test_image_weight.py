"""What an image counts for."""

from __future__ import annotations

import struct

import pytest

from penstock_common.image_weight import image_weight


def png(width: int, height: int, *, size: int = 0) -> bytes:
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)).ljust(size, b"\0")


def jpeg(width: int, height: int, scans: int) -> bytes:
    return b"\xff\xd8\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + bytes(10) + b"\xff\xda\0\x02" * scans


@pytest.mark.parametrize(
    ("image", "weight"),
    [
        (png(4000, 3000, size=3_000_000), 3_000_000),  # a photograph: its bytes
        (png(7000, 7000), 49_000_000 // 6),  # one colour in a few bytes: its pixels
        (jpeg(1000, 600, 10), 1_000_000),  # as often as it has scans
        (b"no image", 8),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 0, b"junk") * 5000, 8 + 8 * 5000),  # metadata without end
    ],
)
def test_an_image_weighs_its_bytes_or_its_pixels(image: bytes, weight: int) -> None:
    """Whichever is more; a file that cannot be read weighs its bytes."""
    assert image_weight(image) == weight

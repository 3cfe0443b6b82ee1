"""Images are refused by the work that decoding them would be, before any of it is done."""

from __future__ import annotations

import base64
import struct

import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.signature.image_check import ImageCheck
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS
from penstock_gateway.signature.row_decoder import RowDecoder
from tests.unit.gateway.signature.refused_files import json_rows, refusals

IMAGE = Field("image", FieldKind.IMAGE, "BYTES")
DECODER = RowDecoder(Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [IMAGE], [Output("y", "FP32")]))


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)


def jpeg(width: int, height: int, scans: int) -> bytes:
    return b"\xff\xd8\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + bytes(10) + b"\xff\xda\0\x02" * scans


def body(*images: bytes) -> bytes:
    return json_rows("image", images)


def refused(*images: bytes) -> PenstockError:
    """The error for these rows, the same as JSON and as a tensor."""
    errors = refusals(DECODER, ImageCheck(IMAGE, DEFAULT_BOUNDS), images)
    for error in errors:
        assert (error.status, error.code, error.extra["field"]) == (413, "image-too-large", "image")
    return errors[0]


def test_an_image_of_too_many_pixels() -> None:
    """50 megapixels pass, one more row of pixels does not; the refusal names the bound."""
    assert DECODER.decode_json(body(png(10_000, 5_000))).count == 1
    assert "has 50,010,000 pixels, 50,000,000 are allowed" in refused(png(10_000, 5_001)).detail


def test_a_jpeg_of_too_many_scans() -> None:
    """A progressive JPEG of 6,000 empty scans is refused, one of 64 passes."""
    assert DECODER.decode_json(body(jpeg(100, 100, 64))).count == 1
    assert "has 6,000 scans, 64 are allowed" in refused(jpeg(100, 100, 6000)).detail


def test_pixels_count_once_for_each_scan() -> None:
    """An image within both bounds is refused if each of its many scans passes over many pixels."""
    assert "480,000,000 pixels" in refused(jpeg(4_000, 3_000, 40)).detail


def test_the_rows_of_a_request_share_a_budget() -> None:
    """Ten rows of a 49-megapixel PNG are refused, four pass; a thousand small ones pass."""
    assert DECODER.decode_json(body(*[png(7_000, 7_000)] * 4)).count == 4
    assert "490,000,000 pixels" in refused(*[png(7_000, 7_000)] * 10).detail
    assert DECODER.decode_json(body(*[png(400, 400)] * 1000)).count == 1000


def test_metadata_without_end() -> None:
    """A file of nothing but tiny segments is refused as too large."""
    assert "has more than 512 segments" in refused(b"\xff\xd8" + b"\xff\xfe\0\x02" * 600).detail


def test_base64_in_a_tensor_is_explained() -> None:
    """An image as base64 text in a tensor is 415, with what to send instead."""
    array = np.empty(1, dtype=np.object_)
    array[0] = base64.b64encode(png(2, 2))
    with pytest.raises(PenstockError, match="is not an image") as caught:
        ImageCheck(IMAGE, DEFAULT_BOUNDS).array(array)
    assert (caught.value.status, caught.value.code) == (415, "unsupported-image")
    assert "binary_data_size" in caught.value.detail

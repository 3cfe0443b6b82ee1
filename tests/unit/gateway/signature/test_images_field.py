"""A field of several images: what of it is read, and what is refused before anything is decoded."""

from __future__ import annotations

import base64

import msgspec
import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import unpack_bytes
from penstock_gateway.signature.images_check import ImagesCheck
from penstock_gateway.signature.json_schema import form_schema, row_schema
from penstock_gateway.signature.row_decoder import RowDecoder
from tests.unit.gateway.signature.test_image_bounds import jpeg, png

IMAGES = Field("images", FieldKind.IMAGE, "BYTES", shape=[-1], max_elements=4)
MANIFEST = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [IMAGES], [Output("y", "FP32")])


def body(*images: bytes) -> bytes:
    return msgspec.json.encode({"images": [base64.b64encode(image).decode() for image in images]})


def refused(*images: bytes) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        RowDecoder(MANIFEST).decode_json(body(*images))
    assert caught.value.extra["field"] == "images"
    return caught.value


def test_a_row_has_a_list_of_files() -> None:
    """In their order, with how many there are; a data URL is a file too."""
    first, second = png(10, 10), jpeg(20, 20, 1)
    rows = RowDecoder(MANIFEST).decode_json(body(first, second))
    assert (rows.count, rows.shapes) == (1, ((2,),))
    assert unpack_bytes(rows.inputs[0], 2) == [first, second]
    url = f"data:image/png;base64,{base64.b64encode(first).decode()}"
    rows = RowDecoder(MANIFEST).decode_json(msgspec.json.encode({"images": [url]}))
    assert unpack_bytes(rows.inputs[0], 1) == [first]


def test_an_error_says_which_of_them() -> None:
    """Of another format, too large, or not base64."""
    error = refused(png(10, 10), b"GIF89a and more")
    assert (error.status, error.code, error.extra["element"]) == (415, "unsupported-image", 1)
    error = refused(png(10, 10), png(10_000, 5_001))
    assert (error.status, error.code, error.extra["element"]) == (413, "image-too-large", 1)
    with pytest.raises(PenstockError, match="is not valid base64"):
        RowDecoder(MANIFEST).decode_json(b'{"images": ["?"]}')


def test_all_of_them_share_the_bounds_of_a_request() -> None:
    """Of pixels, and of how many there are; as a tensor of bytes too."""
    large = png(8_000, 6_250)
    assert "250,000,000 pixels" not in str(RowDecoder(MANIFEST).decode_json(body(*[large] * 4)))
    assert "5 elements, 4 are allowed" in refused(*[png(10, 10)] * 5).detail
    more = [large, large, large, jpeg(5_000, 6_000, 2)]
    assert "210,000,000 pixels" in refused(*more).detail
    array = np.empty((1, 4), np.object_)
    array[0, :] = more
    with pytest.raises(PenstockError, match="210,000,000 pixels"):
        ImagesCheck(IMAGES).array(array)


def test_a_value_that_is_no_list_is_refused() -> None:
    """So is an empty one: a request without images leaves the field out."""
    for value in (b'"abc"', b"[]", b"[1]"):
        with pytest.raises(PenstockError) as caught:
            RowDecoder(MANIFEST).decode_json(b'{"images": ' + value + b"}")
        assert caught.value.status == 422


def test_the_documentation_has_a_list() -> None:
    """In forms too, where it is JSON."""
    for schema in (row_schema(MANIFEST), form_schema(MANIFEST)):
        images = schema["properties"]["images"]
        assert (images["type"], images["items"]["contentEncoding"]) == ("array", "base64")

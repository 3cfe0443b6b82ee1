"""Rows whose shapes vary, that may lack an input, and that are never in a batch: what is accepted and what is carried on."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.json_schema import row_schema
from penstock_gateway.signature.row_decoder import RowDecoder

TENSOR = FieldKind.TENSOR
IMAGE = Field("image", TENSOR, "FP32", shape=[1, "height", "width"], max_elements=12)
MASK = Field("mask", TENSOR, "BOOL", shape=["height", "width"])
WORDS = Field("words", TENSOR, "BYTES", shape=[-1])
SCALE = Field("scale", FieldKind.NUMBER, "FP32", required=False)
RATE = Field("sr", FieldKind.INTEGER, "INT64", constant=16000)


def manifest(*fields: Field, batch: bool = True) -> Manifest:
    return Manifest(Format.ONNX, "m.onnx", Task.TENSOR, list(fields), [Output("y", "FP32")], batch=batch)


def decoder(*fields: Field, batch: bool = True) -> RowDecoder:
    return RowDecoder(manifest(*fields, batch=batch))


def body(*rows: dict[str, Any]) -> bytes:
    return msgspec.json.encode(rows[0] if len(rows) == 1 else rows)


class Given(msgspec.Struct):
    """A tensor of a request, whose data may not be read if it does not fit."""

    name: str
    datatype: str
    shape: list[int]
    values: Any = None

    def array(self) -> NDArray[Any]:
        assert self.values is not None, "the data was read"
        return np.array(self.values).reshape(self.shape)


def refusal(call: Any, argument: Any) -> str:
    with pytest.raises(PenstockError) as caught:
        call(argument)
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")
    return caught.value.detail


def test_a_row_carries_its_shapes() -> None:
    """Lists of any size become raw tensors and the shape of each."""
    rows = decoder(IMAGE, WORDS).decode_json(body({"image": [[[1, 2, 3], [4, 5, 6]]], "words": ["a", "bc"]}))
    assert rows.shapes == ((1, 2, 3), (2,))
    assert rows.inputs == [struct.pack("<6f", 1, 2, 3, 4, 5, 6), pack_bytes([b"a", b"bc"])]


def test_rows_of_fixed_shapes_carry_none() -> None:
    """The signature has them, and the hot path is not burdened."""
    assert decoder(RATE, Field("x", TENSOR, "FP32", shape=[1])).decode_json(b'{"x": [1]}').shapes is None


def test_the_rows_of_a_request_have_one_shape() -> None:
    """A list of rows is one tensor; a row that differs is named."""
    assert decoder(WORDS).decode_json(body({"words": ["a", "b"]}, {"words": ["c", "d"]})).shapes == ((2,),)
    says = refusal(decoder(WORDS).decode_json, body({"words": ["a", "b"]}, {"words": ["c"]}))
    assert says.startswith("Row 1: Field 'words' is of shape [1], that of row 0 is of shape [2]")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ([[[1, 2], [3]]], "of one length at each depth"),
        ([[]], "of one length at each depth"),
        ([[1]], "must be nested lists"),
        ([[[1]], [[2]]], "shape [1, 'height', 'width']"),
        ([[[0] * 13]], "has 13 elements, 12 are allowed"),
    ],
)
def test_lists_of_another_shape_are_refused(image: Any, says: str) -> None:
    """Ragged, empty, of another fixed size, or of more elements than the input's bound."""
    with pytest.raises(PenstockError) as caught:
        decoder(IMAGE).decode_json(body({"image": image}))
    assert caught.value.status == 422
    assert says in caught.value.detail


@pytest.mark.parametrize(
    ("shape", "says"),
    [([-1], "'words': must be a list of at least one element, got"), ([2], "a list of 2 elements, got")],
)
@pytest.mark.parametrize("words", ["cup", [], {"a": 1}])
def test_what_is_not_one_list_is_refused_in_plain_words(shape: list[Any], says: str, words: Any) -> None:
    """A text, an empty list, and an object."""
    with pytest.raises(PenstockError) as caught:
        decoder(Field("words", TENSOR, "BYTES", shape=shape)).decode_json(body({"words": words}))
    assert caught.value.status == 422
    assert says in caught.value.detail


def test_a_name_has_one_size() -> None:
    """Over all the inputs of a request, in JSON and in tensors; the text names both."""
    row = {"image": [[[1, 2]]], "mask": [[True, False, True]]}
    wanted = "The size 'width' is 2 in 'image' and 3 in 'mask'"
    assert wanted in refusal(decoder(IMAGE, MASK).decode_json, body(row))
    given = [Given("image", "FP32", [4, 1, 1, 2]), Given("mask", "BOOL", [4, 1, 3])]
    assert wanted in refusal(decoder(IMAGE, MASK).decode_tensors, given)


def test_tensors_of_any_size_fit() -> None:
    """In the Open Inference Protocol the shape says it."""
    rows = decoder(IMAGE).decode_tensors([Given("image", "FP32", [2, 1, 1, 3], [1, 2, 3, 4, 5, 6])])
    assert (rows.count, rows.shapes) == (2, ((1, 1, 3),))


@pytest.mark.parametrize("shape", [[1, 1, 1, 13], [1, 2, 1, 1], [1, 1, 3], [1, 1, 2**30, 2**30]])
def test_a_shape_out_of_bounds_is_refused_before_its_data_is_read(shape: list[int]) -> None:
    """So nobody makes the gateway take memory for a billion elements."""
    refusal(decoder(IMAGE).decode_tensors, [Given("image", "FP32", shape)])


def test_an_input_may_be_absent() -> None:
    """One without a default that the file does without; rows that have it and rows that lack it do not share a message."""
    text = Field("text", FieldKind.TEXT, "BYTES")
    rows = decoder(text, SCALE).decode_json(b'{"text": "a"}')
    assert (rows.inputs[1], rows.shapes) == (b"", ((), None))
    assert decoder(text, SCALE).decode_json(b'{"text": "a", "scale": 2}').shapes == ((), ())
    given = [Given("text", "BYTES", [1], [b"a"])]
    assert decoder(text, SCALE).decode_tensors(given).shapes == ((), None)
    assert "Row 1: Field 'scale' is absent" in refusal(
        decoder(text, SCALE).decode_json, b'[{"text": "a", "scale": 2}, {"text": "b"}]'
    )


def test_a_constant_is_not_an_input_of_clients() -> None:
    """It is neither sent nor in the documentation."""
    assert "Unknown field 'sr'" in refusal(decoder(IMAGE, RATE).decode_json, body({"image": [[[1]]], "sr": 8000}))
    assert list(row_schema(manifest(IMAGE, RATE))["properties"]) == ["image"]


def test_a_model_without_a_batch_takes_one_object() -> None:
    """A list is refused, and tensors are exactly of the declared shape; a scalar may be sent as one element."""
    whole = decoder(IMAGE, RATE, batch=False)
    assert whole.decode_json(body({"image": [[[1, 2]]]})).count == 1
    assert "one object a request" in refusal(whole.decode_json, body({"image": [[[1]]]}, {"image": [[[1]]]}))
    assert whole.decode_tensors([Given("image", "FP32", [1, 1, 2], [1, 2])]).shapes == ((1, 1, 2),)
    assert "send [1, 'height', 'width']" in refusal(whole.decode_tensors, [Given("image", "FP32", [1, 1, 1, 2])])
    scalar = decoder(Field("x", FieldKind.NUMBER, "FP32"), batch=False)
    for shape in ([], [1]):
        assert scalar.decode_tensors([Given("x", "FP32", shape, [2.5])]).inputs == [struct.pack("<f", 2.5)]


def test_the_schema_says_what_varies() -> None:
    """A dimension that varies has no fixed number of items."""
    schema = row_schema(manifest(IMAGE))["properties"]["image"]
    assert (schema["minItems"], schema["maxItems"]) == (1, 1)
    assert "maxItems" not in schema["items"]


def test_names_may_have_colons_and_slashes() -> None:
    """As converters write them, also as keys in JSON."""
    rows = decoder(Field("serving/x:0", FieldKind.NUMBER, "FP32")).decode_json(b'{"serving/x:0": 1}')
    assert rows.inputs == [struct.pack("<f", 1)]

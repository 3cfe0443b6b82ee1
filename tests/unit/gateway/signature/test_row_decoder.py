"""Rows are checked against the signature and encoded as tensors."""

import base64
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import NUMPY_DTYPES, from_raw, pack_bytes
from penstock_gateway.signature import row_decoder
from penstock_gateway.signature.json_schema import form_schema, row_schema
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS
from penstock_gateway.signature.row_decoder import RowDecoder
from penstock_gateway.signature.rows import Rows

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


def manifest(*fields: Field) -> Manifest:
    return Manifest(
        format=Format.ONNX,
        file="m.onnx",
        task=Task.TENSOR,
        inputs=list(fields),
        outputs=[Output("y", "FP32")],
        examples=[{"text": "hello"}],
    )


def decoder(*fields: Field) -> RowDecoder:
    return RowDecoder(manifest(*fields))


TEXT = Field("text", FieldKind.TEXT, "BYTES", max_length=20)
AREA = Field("area", FieldKind.NUMBER, "FP32", minimum=0, maximum=1000)
ROOMS = Field("rooms", FieldKind.INTEGER, "INT8")
CITY = Field("city", FieldKind.CATEGORY, "BYTES", categories=[f"c{i}" for i in range(12)])
GARDEN = Field("garden", FieldKind.BOOLEAN, "BOOL", required=False, default=False)
IMAGE = Field("image", FieldKind.IMAGE, "BYTES", max_length=100)
GRID = Field("grid", FieldKind.TENSOR, "FP32", shape=[2, 2], minimum=-5)
WORDS = Field("words", FieldKind.TENSOR, "BYTES", shape=[2])
HOUSE = decoder(AREA, ROOMS, CITY, GARDEN)


def columns(fields: list[Field], body: bytes) -> tuple[list[Any], int, bool]:
    """The decoded rows with their tensors as nested lists, their number, and whether the body was a list."""
    rows = decoder(*fields).decode_json(body)
    lists = [
        from_raw(data, field.datatype, [rows.count, *field.shape]).tolist()
        for data, field in zip(rows.inputs, fields, strict=True)
    ]
    return lists, rows.count, rows.is_list


def refused(call: Any, *args: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        call(*args)
    return caught.value


def test_one_object_is_one_row() -> None:
    """An object becomes one row of raw BYTES: the length and the UTF-8 text."""
    assert decoder(TEXT).decode_json('{"text": "grüß"}'.encode()) == Rows([pack_bytes(["grüß".encode()])], 1)


def test_a_list_is_rows_in_order() -> None:
    """A list of objects becomes columns in signature order; an absent optional field takes its default."""
    body = b'[{"rooms":3,"area":1.5,"city":"c1"},{"garden":true,"city":"c2","area":2,"rooms":-4}]'
    lists, rows, was_list = columns([AREA, ROOMS, CITY, GARDEN], body)
    assert (rows, was_list) == (2, True)
    assert lists == [[1.5, 2.0], [3, -4], [b"c1", b"c2"], [False, True]]


def test_tensors_keep_their_shape() -> None:
    """Nested lists become [rows, *shape], row-major; strings become BYTES."""
    lists, _, _ = columns([GRID, WORDS], b'{"grid":[[1,2],[3,4.5]],"words":["a","b"]}')
    assert lists[0] == [[[1, 2], [3, 4.5]]]
    assert lists[1] == [[b"a", b"b"]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b'{"text": ', "not valid JSON"),
        (b'{"text": NaN}', "no NaN"),
        (b'{"text": Infinity}', "no Infinity"),
        (b'{"text": -Infinity}', "Infinity"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'{"text": "\\ud800"}', "not valid JSON"),
        (b'{"text": 1e999}', "out of range"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"[" * 50_000, "nested"),
    ],
)
def test_broken_json_is_a_400(body: bytes, says: str) -> None:
    """A body that is no JSON is 400 bad-json and says what is wrong with it."""
    error = refused(decoder(TEXT).decode_json, body)
    assert (error.status, error.code) == (400, "bad-json")
    assert says in error.detail


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"area": "12"}, "area", "must be a number"),
        ({"area": True}, "area", "must be a number, got True"),
        ({"area": None}, "area", "must be a number"),
        ({"area": -1}, "area", "0 to 1000"),
        ({"area": 1001}, "area", "0 to 1000"),
        ({"rooms": 1.5}, "rooms", "whole number"),
        ({"rooms": 128}, "rooms", "-128 to 127"),
        ({"city": "x"}, "city", "c9 and 2 more"),
        ({"city": 3}, "city", "is none of"),
        ({"garden": 1}, "garden", "true or false"),
        ({"colour": "red"}, "colour", "takes area, rooms, city, garden"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str, says: str) -> None:
    """Each wrong value is 422, naming the field and the remedy; in a list the row too."""
    row = {"area": 1, "rooms": 2, "city": "c1"} | change
    error = refused(HOUSE.decode_json, msgspec.json.encode(row))
    assert (error.status, error.code, error.extra) == (422, "invalid-input", {"field": field})
    assert says in error.detail
    good = {"area": 1, "rooms": 2, "city": "c1"}
    error = refused(HOUSE.decode_json, msgspec.json.encode([good, row]))
    assert error.extra == {"field": field, "row": 1}
    assert error.detail.startswith("Row 1: ")


def test_a_misspelt_field_is_named_before_the_missing_one() -> None:
    """A typo is reported as the unknown field; without one, the missing field is."""
    assert "Unknown field 'txt'" in refused(decoder(TEXT).decode_json, b'{"txt":"a"}').detail
    assert "'text' is missing" in refused(decoder(TEXT).decode_json, b"{}").detail


@pytest.mark.parametrize("body", [b'"text"', b"3", b"null", b"[3]", b"[[]]"])
def test_a_row_is_an_object(body: bytes) -> None:
    """Anything but an object as a row is 422."""
    assert refused(decoder(TEXT).decode_json, body).status == 422


def test_the_number_of_rows_is_bounded() -> None:
    """No row is 422, too many are 413, the largest number passes."""
    assert refused(decoder(TEXT).decode_json, b"[]").status == 422
    row = b'{"text":"a"}'
    most = DEFAULT_BOUNDS.max_rows
    assert decoder(TEXT).decode_json(b"[" + b",".join([row] * most) + b"]").count == most
    error = refused(decoder(TEXT).decode_json, b"[" + b",".join([row] * (most + 1)) + b"]")
    assert (error.status, error.code) == (413, "too-many-rows")


def test_a_long_value_is_cut_in_the_message() -> None:
    """A too long text is refused with a short quote of it."""
    error = refused(decoder(TEXT).decode_json, msgspec.json.encode({"text": "x" * 100_000}))
    assert "20 are allowed" in error.detail
    assert len(error.detail) < 250


@pytest.mark.parametrize("number", ["1e39", "-1e39", "123456789012345678901234567890123456789012345"])
def test_numbers_must_fit_the_datatype(number: str) -> None:
    """A number beyond FP32 is out of bounds, not infinity."""
    wide = decoder(Field("x", FieldKind.NUMBER, "FP32"))
    assert "out of bounds" in refused(wide.decode_json, f'{{"x":{number}}}'.encode()).detail


@pytest.mark.parametrize("number", ["1" + "0" * 308, "9" * 309, "-" + "9" * 1000, "9" * 4000])
@pytest.mark.parametrize("datatype", ["BF16", "FP16", "FP32", "FP64"])
def test_whole_numbers_beyond_the_floats_are_refused(datatype: str, number: str) -> None:
    """A whole number that no float can hold is out of bounds, in a scalar and in a tensor; one that FP64 holds is not."""
    fields = Field("x", FieldKind.NUMBER, datatype), Field("t", FieldKind.TENSOR, datatype, shape=[1])
    for field, value in zip(fields, (number, f"[{number}]"), strict=True):
        of = decoder(field)
        body = f'{{"{field.name}":{value}}}'.encode()
        if datatype == "FP64" and len(number) == 309 and number.startswith("1"):
            assert np.frombuffer(of.decode_json(body).inputs[0]).tolist() == [1e308]
            continue
        error = refused(of.decode_json, body)
        assert (error.status, error.code) == (422, "invalid-input")
        assert "out of bounds" in error.detail
        assert len(error.detail) < 250


@pytest.mark.parametrize("body", [b'{"x":0.1,"t":[-1,300]}', b'[{"x":0.1,"t":[-1,300]},{"x":2,"t":[0.5,7]}]'])
def test_numbers_become_bf16(body: bytes) -> None:
    """Rounded to its eight bits, one row or several."""
    rows = decoder(Field("x", FieldKind.NUMBER, "BF16"), Field("t", FieldKind.TENSOR, "BF16", shape=[2])).decode_json(
        body
    )
    x, t = (from_raw(data, "BF16", [len(data) // 2]).astype(float).tolist() for data in rows.inputs)
    assert x == [0.10009765625, 2][: rows.count] and t == [-1, 300, 0.5, 7][: 2 * rows.count]


def test_a_number_of_5000_digits_is_not_json_that_is_read() -> None:
    """Digits without end are refused as such, without being converted."""
    error = refused(decoder(AREA).decode_json, b'{"area":' + b"9" * 5000 + b"}")
    assert (error.status, error.code) == (400, "bad-json")


@pytest.mark.parametrize("three", ["3", "3.0", "0.3e1"])
def test_a_whole_number_may_be_written_with_a_point(three: str) -> None:
    """JSON does not tell 3 from 3.0: both fit an integer, as a scalar and in a tensor."""
    numbers = Field("numbers", FieldKind.TENSOR, "INT32", shape=[2])
    lists, _, _ = columns([ROOMS, numbers], f'{{"rooms":{three},"numbers":[{three},4]}}'.encode())
    assert lists == [[3], [[3, 4]]]
    error = refused(decoder(numbers).decode_json, b'{"numbers":[3,4.5]}')
    assert "whole number, got 4.5" in error.detail


def test_a_large_body_is_refused_where_it_first_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large body that does not fit is never parsed without the signature: not 2 million rows, not a nested object."""
    monkeypatch.setattr(row_decoder, "decode_json", lambda body: pytest.fail("parsed without types"))
    for body in (
        b"[" + b"{}," * 2_000_000 + b"{}]",
        b'{"text":{"a":[' + b'{"b":[1,2]},' * 500_000 + b"1]}}",
        b'{"text":"a","x' + b"x" * 100_000 + b'":[]}',
        b'[{"text":"' + b"x" * 100_000 + b'"},{"text":3}]',
    ):
        error = refused(decoder(TEXT).decode_json, body)
        assert (error.status, error.code) == (422, "invalid-input")
        assert "text" in error.detail
        assert len(error.detail) < 400


def test_names_need_not_be_identifiers() -> None:
    """Fields with dots, dashes or the names of Python's words are read."""
    fields = [Field(name, FieldKind.NUMBER, "FP32") for name in ("a.b", "c-d", "class", "f1", "f0")]
    lists, _, _ = columns(fields, b'{"f0":5,"f1":4,"class":3,"c-d":2,"a.b":1}')
    assert lists == [[1], [2], [3], [4], [5]]


def test_an_optional_field_may_come_first() -> None:
    """A default fills an absent field wherever it stands in the signature; null is not absence."""
    fields = [GARDEN, AREA]
    assert columns(fields, b'{"area":1}')[0] == [[False], [1]]
    assert columns(fields, b'[{"area":1},{"area":2,"garden":true}]')[0] == [[False, True], [1, 2]]
    assert refused(decoder(*fields).decode_json, b'{"area":1,"garden":null}').extra == {"field": "garden"}


@pytest.mark.parametrize("grid", ["[1,2,3,4]", "[[1,2],[3]]", "[[1,2],[3,true]]", '[[1,2],[3,"4"]]', "[[1,2],[3,-6]]"])
def test_a_wrong_tensor_is_refused(grid: str) -> None:
    """Wrong nesting, element types and bounds of a tensor are 422."""
    error = refused(decoder(GRID).decode_json, f'{{"grid":{grid}}}'.encode())
    assert (error.status, error.code, error.extra) == (422, "invalid-input", {"field": "grid"})


def test_images_as_base64() -> None:
    """An image arrives as base64, with or without a data URL's prefix."""
    encoded = base64.b64encode(PNG).decode()
    for text in (encoded, f"data:image/png;base64,{encoded}"):
        assert decoder(IMAGE).decode_json(msgspec.json.encode({"image": text})).inputs == [pack_bytes([PNG])]


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("%%%", 422, "invalid-input"),
        (3, 422, "invalid-input"),
        (base64.b64encode(b"GIF89a....").decode(), 415, "unsupported-image"),
        (base64.b64encode(PNG + b"x" * 100).decode(), 413, "image-too-large"),
        (base64.b64encode(PNG * 1000).decode(), 413, "image-too-large"),
    ],
)
def test_bad_images(image: Any, status: int, code: str) -> None:
    """No base64, another file type and too many bytes each have their own status."""
    error = refused(decoder(IMAGE).decode_json, msgspec.json.encode({"image": image}))
    assert (error.status, error.code) == (status, code)


def test_a_form_is_one_row() -> None:
    """Texts of a form are parsed by kind, files are taken as they are."""
    both = decoder(IMAGE, AREA, GARDEN, TEXT)
    row = both.decode_form({"image": PNG, "area": "2.5", "garden": "true", "text": "12"})
    assert row == Rows([pack_bytes([PNG]), np.float32(2.5).tobytes(), b"\x01", pack_bytes([b"12"])], 1)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"text": b"\xff", "area": "1"}, "text"),
        ({"text": "a", "area": "nan"}, "area"),
        ({"text": "a", "area": b"\xff"}, "area"),
        ({"text": "a", "area": "[" * 100_000}, "area"),
        ({"text": "a"}, "area"),
        ({"text": "a", "area": "1", "b": "2"}, "b"),
    ],
)
def test_a_bad_form_names_its_field(values: dict[str, str | bytes], field: str) -> None:
    """Wrong, missing and unknown form fields are 422, as in JSON."""
    error = refused(decoder(TEXT, AREA).decode_form, values)
    assert (error.status, error.extra["field"]) == (422, field)


def objects(*values: bytes) -> NDArray[Any]:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


@dataclass
class Given:
    """A tensor of a request."""

    name: str
    values: NDArray[Any]
    read: bool = False

    @property
    def datatype(self) -> str:
        return next(name for name, dtype in NUMPY_DTYPES.items() if dtype == self.values.dtype)

    @property
    def shape(self) -> list[int]:
        return list(self.values.shape)

    def array(self) -> NDArray[Any]:
        self.read = True
        return self.values


def tensors(arrays: dict[str, NDArray[Any]]) -> list[Given]:
    return [Given(name, array) for name, array in arrays.items()]


def test_arrays_of_the_open_inference_protocol() -> None:
    """Arrays become the same raw tensors as JSON; scalars may come as [rows, 1]; defaults fill in."""
    arrays = {
        "city": objects(b"c1", b"c2").reshape(2, 1),
        "area": np.array([1, 2], np.float32),
        "rooms": np.array([[3], [4]], np.int8),
    }
    expected = HOUSE.decode_json(b'[{"area":1,"rooms":3,"city":"c1"},{"area":2,"rooms":4,"city":"c2"}]')
    assert HOUSE.decode_tensors(tensors(arrays)) == Rows(expected.inputs, 2)


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("area", np.array([1, np.nan], np.float32), "finite"),
        ("area", np.array([1, np.inf], np.float32), "finite"),
        ("area", np.array([1, 1001], np.float32), "out of bounds"),
        ("area", np.array([1, 2], np.float64), "send FP32"),
        ("area", np.ones((2, 2), np.float32), "shape"),
        ("area", np.ones(3, np.float32), "differ"),
        ("area", np.float32(1).reshape(()), "differ"),
        ("text", objects(b"a", b"\xff"), "UTF-8"),
        ("text", objects(b"a", b"x" * 21), "20 are allowed"),
        ("other", np.ones(2), "Unknown"),
    ],
)
def test_bad_arrays(name: str, array: NDArray[Any], says: str) -> None:
    """Every array that does not fit is 422 and says why."""
    arrays = {"area": np.ones(2, np.float32), "text": objects(b"a", b"b"), name: array}
    error = refused(decoder(TEXT, AREA).decode_tensors, tensors(arrays))
    assert error.status == 422
    assert says in error.detail


def test_all_tensors_are_checked_before_any_is_read() -> None:
    """The data of a good tensor is not decoded if another is missing, misshapen or of another datatype."""
    for bad in (None, np.ones((2, 2), np.float32), np.ones(2, np.float64)):
        given = tensors({"text": objects(b"a", b"b")} | ({} if bad is None else {"area": bad}))
        assert refused(decoder(TEXT, AREA).decode_tensors, given).status == 422
        assert not any(tensor.read for tensor in given)


def test_no_arrays() -> None:
    """A request without inputs or without rows is 422."""
    assert refused(decoder(AREA).decode_tensors, []).status == 422
    assert refused(decoder(AREA).decode_tensors, tensors({"area": np.ones(0, np.float32)})).status == 422


def test_the_schema_tells_the_signature() -> None:
    """The JSON Schema has types, bounds, defaults, required fields and examples."""
    schema = row_schema(manifest(AREA, CITY, GARDEN, GRID))
    assert schema["required"] == ["area", "city", "grid"]
    assert schema["properties"]["area"] == {"type": "number", "minimum": 0, "maximum": 1000}
    assert schema["properties"]["garden"] == {"type": "boolean", "default": False}
    most = float(np.finfo(np.float32).max)
    assert schema["properties"]["grid"]["items"]["items"] == {"type": "number", "minimum": -5, "maximum": most}
    assert schema["additionalProperties"] is False
    assert schema["examples"] == [{"text": "hello"}]


def test_a_bound_of_the_schema_is_the_decoders() -> None:
    """The largest and smallest value that the schema allows are accepted, for every datatype of numbers."""
    for datatype in NUMPY_DTYPES:
        if datatype in ("BYTES", "BOOL"):
            continue
        field = Field("x", FieldKind.NUMBER if "F" in datatype else FieldKind.INTEGER, datatype)
        bound = row_schema(manifest(field))["properties"]["x"]
        for value in (bound["minimum"], bound["maximum"]):
            assert columns([field], msgspec.json.encode({"x": value}))[0] == [[value]]
            error = refused(decoder(field).decode_json, f'{{"x":{int(value) * 2 or -1}}}'.encode())
            assert error.status in (400, 422)


def test_a_form_has_files_for_images() -> None:
    """In a form an image is a file; the rest is as in JSON."""
    schema = form_schema(manifest(IMAGE, AREA, GRID))
    assert schema["properties"]["image"]["format"] == "binary"
    assert schema["properties"]["area"] == row_schema(manifest(AREA))["properties"]["area"]
    assert (schema["required"], schema["additionalProperties"]) == (["image", "area", "grid"], False)
    assert "examples" not in schema


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_any_text_comes_through_whole(texts: list[str]) -> None:
    """Every text reaches the tensor as its UTF-8 bytes."""
    lists, rows, _ = columns([TEXT], msgspec.json.encode([{"text": text} for text in texts]))
    assert rows == len(texts)
    assert lists[0] == [text.encode() for text in texts]


@given(st.binary(max_size=60))
def test_any_bytes_are_answered_with_a_clear_error(body: bytes) -> None:
    """No body makes the check fail in any other way than a 4xx."""
    try:
        HOUSE.decode_json(body)
    except PenstockError as err:
        assert 400 <= err.status < 500

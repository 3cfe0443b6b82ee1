"""``/v1``: which body becomes which rows, and what the answer is."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.edge.call import Reply
from penstock_gateway.limits.admission import Usage
from penstock_gateway.protocols.predict import Predict
from tests.unit.gateway.protocols.one_servable import OneServable, call, multipart

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
AREA = Field("area", FieldKind.NUMBER, "FP32")
IMAGE = Field("image", FieldKind.IMAGE, "BYTES")
NOTE = Field("note", FieldKind.TEXT, "BYTES")
ROW = b'{"area": 2}'


def float32(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def serving(*fields: Field, answers: int = 1) -> tuple[OneServable, Predict]:
    """A regression that answers 7 for each of so many rows."""
    manifest = Manifest(Format.ONNX, "m.onnx", Task.REGRESSION, list(fields), [Output("y", "FP32")])
    servable = OneServable("price", manifest, (float32(*[7.0] * answers),))
    return servable, Predict(servable.dataplane, "price")


def content(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


async def refused(predict: Predict, body: bytes, headers: dict[bytes, bytes]) -> tuple[int, str]:
    with pytest.raises(PenstockError) as caught:
        await predict(call(body, headers, model="price"))
    return caught.value.status, caught.value.code


async def test_an_object_is_answered_with_an_object() -> None:
    """The prediction, with model and version in the body, the version in a header, and one row used."""
    _, predict = serving(AREA)
    reply = await predict(call(ROW, model="price"))
    assert content(reply) == {"prediction": 7, "model": "price", "version": "3"}
    assert (b"x-model-version", b"3") in reply.headers
    assert (reply.status, reply.content_type, reply.usage) == (200, b"application/json", Usage(rows=1))


async def test_a_list_is_answered_with_a_list() -> None:
    """One answer a row, all counted."""
    _, predict = serving(AREA, answers=2)
    reply = await predict(call(b'[{"area": 2}, {"area": 3}]', model="price"))
    assert [answer["prediction"] for answer in content(reply)] == [7, 7]
    assert reply.usage == Usage(rows=2)


@pytest.mark.parametrize(
    ("model", "version", "asked"),
    [("", "", ("price", "")), ("spam@candidate", "", ("spam@candidate", "")), ("spam", "2", ("spam", "2"))],
)
async def test_the_path_names_the_model(model: str, version: str, asked: tuple[str, str]) -> None:
    """Model, alias and version are those of the path; ``POST /predict`` has none and asks the default model."""
    servable, predict = serving(AREA)
    await predict(call(ROW, model=model, version=version))
    assert servable.resolved == [asked]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"",
        b"application/json",
        b"application/json; charset=utf-8",
        b"Application/JSON",
        b" application/json ;charset=utf-8",
        b"application/x-www-form-urlencoded",
    ],
)
async def test_json_in_the_ways_that_clients_label_it(content_type: bytes | None) -> None:
    """Without a type, with parameters, in capitals, and as ``curl -d`` labels whatever it sends."""
    servable, predict = serving(AREA)
    await predict(call(ROW, {} if content_type is None else {b"content-type": content_type}, model="price"))
    assert [rows.inputs for rows in servable.inferred] == [[float32(2)]]


@pytest.mark.parametrize("content_type", [b"text/xml", b"application/jsonl", b"multipart/mixed", b"video/png", b"\xff"])
async def test_another_content_type_is_415(content_type: bytes) -> None:
    """What cannot be read is refused before anything is inferred, naming the type and those that can."""
    servable, predict = serving(AREA)
    with pytest.raises(PenstockError) as caught:
        await predict(call(ROW, {b"content-type": content_type}, model="price"))
    assert (caught.value.status, caught.value.code) == (415, "unsupported-media-type")
    assert content_type.decode("latin-1") in caught.value.detail
    assert "application/json" in caught.value.detail
    assert servable.inferred == []


async def test_a_long_content_type_is_cut() -> None:
    """The refusal does not repeat kilobytes of a header."""
    _, predict = serving(AREA)
    with pytest.raises(PenstockError) as caught:
        await predict(call(ROW, {b"content-type": b"x" * 5000}, model="price"))
    assert len(caught.value.detail) < 300


async def test_a_form_is_one_row() -> None:
    """Fields and files of a form are a row of the model's fields."""
    servable, predict = serving(IMAGE, AREA, NOTE)
    body, headers = multipart(("image", "seven.png", PNG), ("area", None, b"2.5"), ("note", None, b"hello"))
    reply = await predict(call(body, headers, model="price"))
    assert servable.inferred[0].inputs == [pack_bytes([PNG]), float32(2.5), pack_bytes([b"hello"])]
    assert content(reply)["prediction"] == 7


async def test_a_form_that_does_not_fit_is_422() -> None:
    """The fields of a form are checked like those of JSON."""
    servable, predict = serving(AREA)
    assert await refused(predict, *multipart(("aera", None, b"2"))) == (422, "invalid-input")
    assert servable.inferred == []


@pytest.mark.parametrize("content_type", [b"image/png", b"image/jpeg", b"image/webp", b"IMAGE/PNG; q=1"])
async def test_an_image_model_takes_the_bare_image(content_type: bytes) -> None:
    """The body is the one field, byte by byte."""
    servable, predict = serving(IMAGE)
    await predict(call(PNG, {b"content-type": content_type}, model="price"))
    assert servable.inferred[0].inputs == [pack_bytes([PNG])]


async def test_an_audio_model_takes_the_bare_sound() -> None:
    """The body is the one field; a picture is refused."""
    servable, predict = serving(Field("sound", FieldKind.AUDIO, "BYTES"))
    flac = b"fLaC" + bytes(40)
    await predict(call(flac, {b"content-type": b"audio/flac"}, model="price"))
    assert servable.inferred[0].inputs == [pack_bytes([flac])]
    assert await refused(predict, PNG, {b"content-type": b"image/png"}) == (415, "unsupported-media-type")
    assert await refused(predict, PNG, {b"content-type": b"audio/wav"}) == (415, "unsupported-audio")


async def test_a_bare_image_must_be_one() -> None:
    """The bytes decide, not the label."""
    _, predict = serving(IMAGE)
    assert await refused(predict, b"GIF89a....", {b"content-type": b"image/png"}) == (415, "unsupported-image")


@pytest.mark.parametrize("fields", [[AREA], [NOTE], [IMAGE, AREA], [IMAGE, Field("b", FieldKind.IMAGE, "BYTES")]])
async def test_a_bare_image_needs_a_model_of_one_image(fields: list[Field]) -> None:
    """A model that takes something else, or more, is not guessed at."""
    servable, predict = serving(*fields)
    assert await refused(predict, PNG, {b"content-type": b"image/png"}) == (415, "unsupported-media-type")
    assert servable.inferred == []


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", (400, "bad-json")),
        (b"{", (400, "bad-json")),
        (b"[]", (422, "invalid-input")),
        (b"7", (422, "invalid-input")),
    ],
)
async def test_a_body_that_is_not_a_row_reaches_no_model(body: bytes, refusal: tuple[int, str]) -> None:
    """What cannot be read is 400, what does not fit 422, and neither is inferred."""
    servable, predict = serving(AREA)
    assert await refused(predict, body, {}) == refusal
    assert servable.inferred == []


async def test_an_answer_that_does_not_fit_is_the_models_fault() -> None:
    """Two values for one row are 500, not a wrong prediction."""
    _, predict = serving(AREA, answers=2)
    assert await refused(predict, ROW, {}) == (500, "bad-model-answer")

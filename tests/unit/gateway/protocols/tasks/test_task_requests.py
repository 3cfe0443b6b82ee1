"""What the routes of tasks take: one value or a list, in JSON, as a form or as a bare picture."""

from __future__ import annotations

import gc
import sys
from typing import Any

import orjson
import pytest

from penstock_common.manifest import Field, FieldKind, Output
from penstock_common.service import Service
from penstock_common.tensors import pack_bytes, unpack_bytes
from penstock_gateway.limits.admission import Usage
from penstock_gateway.protocols.tasks.picture import PICTURE
from tests.unit.gateway.protocols.one_servable import OneServable, call, multipart
from tests.unit.gateway.protocols.tasks.serving_a_service import IMAGE, PNG, TEXT, answer, handler, refusal, serving

TARGET = Field("target", FieldKind.TEXT, "BYTES", required=False, default="de")
JSON = {b"content-type": b"application/json"}


def translator(*fields: Field, rows: int = 1, **members: Any) -> OneServable:
    answers = [b"Hallo %d" % i for i in range(rows)]
    return serving(Service.TRANSLATION, TEXT, *fields, output=Output("text", "BYTES"), answers=answers, **members)


def reader(rows: int = 1, **members: Any) -> OneServable:
    return serving(Service.OCR, IMAGE, output=Output("lines", "BYTES"), answers=[b"[]"] * rows, **members)


async def test_one_text_has_one_result() -> None:
    """With the model and its version, also in the header, and one row used; the default model is that of the service."""
    servable = translator()
    reply = await handler("/v1/translate", servable)(call(b'{"text": "Hello"}'))
    assert isinstance(reply.body, bytes)
    assert orjson.loads(reply.body) == {"model": "m", "version": "3", "results": [{"text": "Hallo 0"}]}
    assert (b"x-model-version", b"3") in reply.headers
    assert reply.usage == Usage(rows=1)
    assert servable.inferred[0].inputs == [pack_bytes([b"Hello"])]
    assert (servable.services, servable.resolved) == ([Service.TRANSLATION], [("m", "")])


async def test_a_list_is_a_batch() -> None:
    """A row and a result for each text, in their order."""
    servable = translator(rows=3)
    found = await answer("/v1/translate", servable, {"text": ["a", "é", ""]})
    assert [result["text"] for result in found["results"]] == ["Hallo 0", "Hallo 1", "Hallo 2"]
    assert servable.inferred[0].inputs == [pack_bytes([b"a", "é".encode(), b""])]


async def test_a_list_of_one_suits_a_model_without_a_batch() -> None:
    """More are refused, as the model takes one at a time."""
    servable = translator(batch=False)
    assert len((await answer("/v1/translate", servable, {"text": ["a"]}))["results"]) == 1
    refused = await refusal("/v1/translate", servable, {"text": ["a", "b"]})
    assert (refused.status, refused.code) == (422, "invalid-input")


async def test_the_request_names_the_model() -> None:
    """With an alias, if it has one; the service's default model is not looked for."""
    servable = translator()
    found = await answer("/v1/translate", servable, {"text": "a", "model": "m@candidate"})
    assert (servable.services, servable.resolved) == ([], [("m@candidate", "")])
    assert found["model"] == "m"


async def test_a_model_of_another_service_is_refused() -> None:
    """Naming what its manifest says."""
    refused = await refusal("/v1/summarize", translator(), {"text": "a", "model": "m"})
    assert (refused.status, refused.code, refused.extra["field"]) == (422, "invalid-input", "model")
    assert "'m' is not for summarization: its manifest says service: translation" in refused.detail


async def test_options_reach_the_model_in_every_row() -> None:
    """As the inputs of their names; one that is not sent is the model's default."""
    servable = translator(TARGET, rows=2)
    await answer("/v1/translate", servable, {"text": ["a", "b"], "target": "fr"})
    await answer("/v1/translate", servable, {"text": ["a", "b"]})
    assert [unpack_bytes(rows.inputs[1], 2) for rows in servable.inferred] == [[b"fr", b"fr"], [b"de", b"de"]]


async def test_an_option_that_the_model_does_not_take_is_refused() -> None:
    """With the model's own words for what it does."""
    servable = translator(description="Numbers in words, from English to German.")
    refused = await refusal("/v1/translate", servable, {"text": "a", "target": "fr"})
    assert (refused.status, refused.extra["field"]) == (422, "target")
    assert "Numbers in words, from English to German." in refused.detail
    assert servable.inferred == []


@pytest.mark.parametrize(
    ("body", "refused", "field", "detail"),
    [
        (b"", (400, "bad-json"), None, "empty"),
        (b'{"text": "a"', (400, "bad-json"), None, "not valid JSON"),
        (b'{"text": "\xff"}', (400, "bad-json"), "text", "cannot be read as JSON in UTF-8"),
        (b'{"text": "\\ud800"}', (400, "bad-json"), None, "not valid JSON"),
        (b'["a"]', (422, "invalid-input"), None, "The body is an object with"),
        (b"{}", (422, "invalid-input"), "text", "Field 'text': is missing; send text"),
        (b'{"text": 7}', (422, "invalid-input"), "text", "must be a string, got 7"),
        (b'{"text": null}', (422, "invalid-input"), "text", "must be a string"),
        (b'{"text": []}', (422, "invalid-input"), None, "no rows"),
        (b'{"text": ["a", ["b"]]}', (422, "invalid-input"), "text", "Row 1: Field 'text': must be a string"),
        (b'{"text": {"text": "a"}}', (422, "invalid-input"), "text", "must be a string, got an object"),
        (b'{"text": "%s"}' % (b"a" * 101), (422, "invalid-input"), "text", "101 characters, 100 are allowed"),
        (
            b'{"text": "a", "txt": 1}',
            (422, "invalid-input"),
            "txt",
            "Unknown field 'txt'; this route takes text, source, target, model",
        ),
        (b'{"text": "a", "target": 7}', (422, "invalid-input"), "target", "Expected `str | null`, got `int`"),
        (b'{"text": "a", "model": []}', (422, "invalid-input"), "model", "Expected `str | null`, got `array`"),
        (b'{"text": [%s"a"]}' % (b'"a",' * 1024), (413, "too-many-rows"), None, "1025 rows"),
    ],
)
async def test_a_bad_body_names_its_field(
    body: bytes, refused: tuple[int, str], field: str | None, detail: str
) -> None:
    """And reaches no model."""
    servable = translator(TARGET)
    error = await refusal("/v1/translate", servable, body)
    assert (error.status, error.code) == refused
    assert error.extra.get("field") == field
    assert detail in error.detail
    assert servable.inferred == []


@pytest.mark.parametrize("content_type", [b"text/plain", b"image/png", b"multipart/form-data; boundary=b"])
async def test_texts_come_as_json(content_type: bytes) -> None:
    """As curl -d labels it, too."""
    error = await refusal("/v1/translate", translator(), {"text": "a"}, {b"content-type": content_type})
    assert (error.status, error.code) == (415, "unsupported-media-type")
    assert error.detail.endswith("send application/json.")
    for known in (b"application/json; charset=utf-8", b"application/x-www-form-urlencoded"):
        await answer("/v1/translate", translator(), {"text": "a"}, {b"content-type": known})


@pytest.mark.parametrize("value", [PICTURE, f"data:image/png;base64,{PICTURE}"])
async def test_a_picture_comes_in_base64(value: str) -> None:
    """Bare, or as a data URL."""
    servable = reader()
    await answer("/v1/ocr", servable, {"image": value})
    assert servable.inferred[0].inputs == [pack_bytes([PNG])]


async def test_a_picture_comes_as_the_body() -> None:
    """To the default model."""
    servable = reader()
    found = await answer("/v1/ocr", servable, PNG, {b"content-type": b"image/png"})
    assert len(found["results"]) == 1
    assert servable.inferred[0].inputs == [pack_bytes([PNG])]
    assert servable.services == [Service.OCR]


async def test_pictures_come_in_a_form() -> None:
    """A row for each file; the other fields are options."""
    servable = reader(2)
    body, headers = multipart(("image", "a.png", PNG), ("model", None, b"m"), ("image", "b.png", PNG))
    found = await answer("/v1/ocr", servable, body, headers)
    assert len(found["results"]) == 2
    assert servable.inferred[0].inputs == [pack_bytes([PNG, PNG])]
    assert servable.resolved == [("m", "")]


@pytest.mark.parametrize(
    ("parts", "refused", "field", "detail"),
    [
        ([("model", None, b"m")], (422, "invalid-input"), "image", "is missing; send a file of the form"),
        ([("image", "a.png", b"GIF89a")], (415, "unsupported-image"), "image", "not an image"),
        (
            [("image", "a.png", PNG), ("image", "b.png", b"GIF89a")],
            (415, "unsupported-image"),
            "image",
            "Row 1: Field 'image': is not an image",
        ),
        ([("image", "a", PNG), ("model", None, b"m"), ("model", None, b"n")], (422, "invalid-input"), "model", "twice"),
        ([("image", "a", PNG), ("size", None, b"9")], (422, "invalid-input"), "size", "Unknown field 'size'"),
    ],
)
async def test_a_bad_form_names_its_field(
    parts: list[tuple[str, str | None, bytes]], refused: tuple[int, str], field: str, detail: str
) -> None:
    """And reaches no model."""
    servable = reader(2)
    error = await refusal("/v1/ocr", servable, *multipart(*parts))
    assert (error.status, error.code) == refused
    assert error.extra.get("field") == field
    assert detail in error.detail
    assert servable.inferred == []


async def test_several_pictures_need_a_model_with_a_batch() -> None:
    """Else each takes a request of its own."""
    servable = reader(batch=False)
    error = await refusal("/v1/ocr", servable, *multipart(("image", "a.png", PNG), ("image", "b.png", PNG)))
    assert (error.status, error.code) == (422, "invalid-input")


async def test_a_broken_form_is_refused() -> None:
    """As on all other routes."""
    error = await refusal("/v1/ocr", reader(), b"--limit\r\n", multipart()[1])
    assert (error.status, error.code) == (400, "bad-form")


async def test_a_model_that_calls_its_field_otherwise_is_asked_with_it() -> None:
    """Errors name the member of the request."""
    field = Field("review", FieldKind.TEXT, "BYTES", max_length=5)
    output, labels = Output("p", "FP32", [2]), ["bad", "good"]
    servable = serving(Service.TEXT_CLASSIFICATION, field, output=output, labels=labels)
    error = await refusal("/v1/classify", servable, {"text": ["short", "too long"]})
    assert error.detail.startswith("Row 1: Field 'text': has 8 characters")
    assert error.extra["field"] == "text"


async def test_the_body_is_not_kept_while_the_model_works() -> None:
    """Neither by the request nor by what was read of it."""
    servable = translator(rows=2)
    body = orjson.dumps({"text": ["a" * 90, "b" * 90]})
    before = sys.getrefcount(body)
    counts: list[int] = []
    infer = servable.infer

    def observed(rows: Any, deadline: float) -> Any:
        gc.collect()
        counts.append(sys.getrefcount(body))
        return infer(rows, deadline)

    servable.infer = observed  # type: ignore[method-assign]
    await handler("/v1/translate", servable)(call(body))
    assert counts == [before]

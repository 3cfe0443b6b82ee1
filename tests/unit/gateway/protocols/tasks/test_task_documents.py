"""The routes of tasks in the OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest

from penstock_common.manifest import Field, FieldKind, Output
from penstock_common.service import Service
from penstock_gateway.protocols.openapi import document
from penstock_gateway.protocols.tasks.openapi_paths import task_paths
from penstock_gateway.protocols.tasks.request import read_request
from penstock_gateway.protocols.tasks.table import TASK_ROUTES
from tests.unit.gateway.protocols.one_servable import OneServable, call
from tests.unit.gateway.protocols.tasks.serving_a_service import IMAGE, TEXT, serving

LABELS = ["a", "b"]
LONG_TEXT = Field("text", FieldKind.TEXT, "BYTES", max_length=1000)
PROBABILITIES = Output("p", "FP32", [2])
TARGET = Field("target", FieldKind.CATEGORY, "BYTES", categories=["de", "fr"])
ITEMS = Field("items", FieldKind.TENSOR, "BYTES", shape=[-1])
#: A model of each service that a route asks.
MODELS: dict[Service, OneServable] = {
    Service.TRANSLATION: serving(Service.TRANSLATION, TEXT, output=Output("text", "BYTES")),
    Service.SUMMARIZATION: serving(Service.SUMMARIZATION, LONG_TEXT, output=Output("text", "BYTES")),
    Service.ENTITIES: serving(Service.ENTITIES, TEXT, output=Output("entities", "BYTES")),
    Service.LANGUAGE: serving(Service.LANGUAGE, TEXT, output=PROBABILITIES, labels=LABELS),
    Service.OCR: serving(Service.OCR, IMAGE, output=Output("lines", "BYTES")),
    Service.FACES: serving(Service.FACES, IMAGE, output=Output("faces", "BYTES")),
    Service.TEXT_CLASSIFICATION: serving(Service.TEXT_CLASSIFICATION, TEXT, output=PROBABILITIES, labels=LABELS),
    Service.IMAGE_CLASSIFICATION: serving(Service.IMAGE_CLASSIFICATION, IMAGE, output=PROBABILITIES, labels=LABELS),
    Service.RECOMMENDATION: serving(Service.RECOMMENDATION, ITEMS, output=Output("items", "BYTES")),
}


def content(path: str, *servables: OneServable) -> dict[str, Any]:
    found: dict[str, Any] = task_paths(servables)[path]["post"]["requestBody"]["content"]
    return found


def test_a_route_is_there_if_a_model_can_answer_it() -> None:
    """And no other."""
    assert set(task_paths([MODELS[Service.OCR]])) == {"/v1/ocr"}
    assert set(task_paths([MODELS[Service.IMAGE_CLASSIFICATION]])) == {"/v1/classify"}
    assert task_paths([]) == {}
    assert set(task_paths(list(MODELS.values()))) == {route.path for route in TASK_ROUTES}


@pytest.mark.parametrize("service", list(MODELS))
async def test_the_example_is_a_request_that_the_model_takes(service: Service) -> None:
    """It is read by the route and checked by the model's signature."""
    servable = MODELS[service]
    [route] = [route for route in TASK_ROUTES if service in route.services.values()]
    example = content(route.path, servable)["application/json"]["example"]
    asked = await read_request(call(orjson.dumps(example)), route)
    value = msgspec.json.decode(asked.values) if isinstance(asked.values, msgspec.Raw) else asked.values
    [field] = servable.signature.manifest.client_inputs
    assert servable.signature.decoder.decode_json(orjson.dumps({field.name: value})).count == 1


def test_the_models_own_example_comes_first() -> None:
    """With the members that the route has, by the route's names."""
    field = Field("review", FieldKind.TEXT, "BYTES")
    servable = serving(
        Service.TEXT_CLASSIFICATION, field, output=PROBABILITIES, labels=LABELS, examples=[{"review": "Fine."}]
    )
    assert content("/v1/classify", servable)["application/json"]["example"] == {"text": "Fine."}


def test_a_text_or_a_list_of_texts() -> None:
    """Bounded as the model is; the model's options are documented, and those that it lacks are not."""
    schema = content("/v1/translate", MODELS[Service.TRANSLATION])["application/json"]["schema"]
    text, texts = schema["properties"]["text"]["oneOf"]
    assert text == {"type": "string", "maxLength": 100}
    assert texts == {"type": "array", "items": text, "minItems": 1, "maxItems": 1024}
    assert set(schema["properties"]) == {"text", "model"}
    assert (schema["required"], schema["additionalProperties"]) == (["text"], False)


def test_an_option_that_the_model_needs_is_required() -> None:
    """As the model's signature says."""
    servable = serving(Service.TRANSLATION, TEXT, TARGET, output=Output("text", "BYTES"))
    schema = content("/v1/translate", servable)["application/json"]["schema"]
    assert schema["required"] == ["text", "target"]
    assert schema["properties"]["target"] == {"type": "string", "enum": ["de", "fr"]}
    assert "source" not in schema["properties"]


def test_pictures_come_in_three_forms() -> None:
    """Base64 in JSON, files of a form, and the body."""
    types = content("/v1/ocr", MODELS[Service.OCR])
    assert set(types) == {"application/json", "multipart/form-data", "image/png"}
    form = types["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert form["properties"]["image"]["items"] == {"type": "string", "format": "binary"}


def test_texts_and_pictures_are_classified_by_one_route() -> None:
    """A request is of one kind, with the models for it."""
    types = content("/v1/classify", MODELS[Service.TEXT_CLASSIFICATION], MODELS[Service.IMAGE_CLASSIFICATION])
    requests = types["application/json"]["schema"]["oneOf"]
    assert [request["required"] for request in requests] == [["text"], ["image"]]
    count = {"type": "integer", "minimum": 1, "maximum": 100}
    assert [request["properties"]["top_k"] for request in requests] == [count, count]
    assert "text" not in types["multipart/form-data"]["schema"]["properties"]


def test_one_of_several_models_is_named() -> None:
    """In the schema and in the example, unless one has the name of the service."""

    def reader(name: str) -> OneServable:
        servable = serving(Service.OCR, IMAGE, output=Output("lines", "BYTES"))
        servable.model = name
        return servable

    types = content("/v1/ocr", reader("receipts"), reader("scans"))
    schema = types["application/json"]["schema"]
    assert schema["required"] == ["image", "model"]
    assert schema["properties"]["model"]["enum"] == ["receipts", "scans"]
    assert types["application/json"]["example"]["model"] == "receipts"
    assert "image/png" not in types
    assert content("/v1/ocr", reader("ocr"), reader("scans"))["application/json"]["schema"]["required"] == ["image"]


def test_a_model_without_a_batch_takes_one() -> None:
    """No list is documented."""
    servable = serving(Service.OCR, IMAGE, output=Output("lines", "BYTES"), batch=False)
    schema = content("/v1/ocr", servable)["application/json"]["schema"]
    assert schema["properties"]["image"]["contentEncoding"] == "base64"


def test_what_a_person_likes_is_a_list_of_texts() -> None:
    """It is one row."""
    schema = content("/v1/recommend", MODELS[Service.RECOMMENDATION])["application/json"]["schema"]
    assert schema["properties"]["items"] == {"type": "array", "items": {"type": "string"}, "minItems": 1}


def test_all_schemas_that_are_referred_to_are_there() -> None:
    """In the whole document."""
    whole = document(MODELS[Service.OCR].catalog, "other")
    text = json.dumps(whole)
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references >= {"Page", "Line", "Problem"}
    assert references <= set(whole["components"]["schemas"])

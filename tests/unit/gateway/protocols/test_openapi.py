"""The OpenAPI document says what the gateway takes and answers."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.protocols.openapi import document
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS
from tests.unit.gateway.protocols.one_servable import OneServable

TEXT = Field("text", FieldKind.TEXT, "BYTES", max_length=20)
IMAGE = Field("image", FieldKind.IMAGE, "BYTES")
AUDIO = Field("sound", FieldKind.AUDIO, "BYTES")
GRID = Field("grid", FieldKind.TENSOR, "FP32", shape=[2, 3])


def documented(*fields: Field, task: Task = Task.TENSOR, default: str = "other", **members: Any) -> dict[str, Any]:
    """The document of a gateway that serves one model, ``m``."""
    labels = ["ham", "spam"] if task is Task.CLASSIFICATION else []
    # Not a vector, for which a route of OpenAI's API would be documented too.
    outputs = [Output("y", "FP32", [2] if labels else [2, 1])]
    manifest = Manifest(Format.ONNX, "m.onnx", task, list(fields), outputs, labels, **members)
    return document(OneServable("m", manifest).catalog, default)


def content(operation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = operation["requestBody"]["content"]
    return found


def test_each_model_has_its_calls() -> None:
    """Both protocols, of the alias and of a version, which is a parameter of the path."""
    paths = documented(TEXT)["paths"]
    assert set(paths) == {
        "/v1/models",
        "/v1/models/m/predict",
        "/v1/models/m/versions/{version}/predict",
        "/v2/models/m/infer",
        "/v2/models/m/versions/{version}/infer",
    }
    for path, item in paths.items():
        names = [parameter["name"] for parameter in item.get("post", {}).get("parameters", [])]
        assert names == (["version"] if "{version}" in path else [])


def test_only_the_default_model_has_the_short_path() -> None:
    """``POST /predict`` is documented if the model that it asks is served."""
    assert "/predict" not in documented(TEXT, default="other")["paths"]
    short = documented(TEXT, default="m")["paths"]["/predict"]["post"]
    assert content(short) == content(documented(TEXT)["paths"]["/v1/models/m/predict"]["post"])


def test_operations_have_ids_of_their_own() -> None:
    """Generated clients make a function of each."""
    paths = documented(TEXT, default="m")["paths"]
    ids = [item["post"]["operationId"] for item in paths.values() if "post" in item]
    assert len(ids) == 5
    assert len(set(ids)) == len(ids)


def test_a_row_or_a_list_of_rows() -> None:
    """The body is either, with the first example of the manifest."""
    operation = documented(TEXT, examples=[{"text": "hello"}, {"text": "you"}])["paths"]["/v1/models/m/predict"]["post"]
    json = content(operation)["application/json"]
    row, rows = json["schema"]["oneOf"]
    assert row["properties"]["text"] == {"type": "string", "maxLength": 20}
    assert rows == {"type": "array", "items": row, "minItems": 1, "maxItems": DEFAULT_BOUNDS.max_rows}
    assert json["example"] == {"text": "hello"}


@pytest.mark.parametrize(
    ("fields", "form"), [([TEXT], False), ([IMAGE], True), ([IMAGE, TEXT], True), ([AUDIO, TEXT], True)]
)
def test_models_of_files_take_forms(fields: list[Field], form: bool) -> None:
    """A form has a part for each field."""
    types = content(documented(*fields)["paths"]["/v1/models/m/predict"]["post"])
    assert ("multipart/form-data" in types) is form
    if form:
        parts = types["multipart/form-data"]["schema"]["properties"]
        assert list(parts) == [field.name for field in fields]


@pytest.mark.parametrize(
    ("task", "members"),
    [
        (Task.CLASSIFICATION, {"prediction", "confidence", "probabilities"}),
        (Task.REGRESSION, {"prediction"}),
        (Task.TENSOR, {"outputs"}),
    ],
)
def test_the_answer_is_that_of_the_task(task: Task, members: set[str]) -> None:
    """What the presenter writes for it, with model and version; a classifier's labels are listed."""
    answer, answers = documented(TEXT, task=task)["paths"]["/v1/models/m/predict"]["post"]["responses"]["200"][
        "content"
    ]["application/json"]["schema"]["oneOf"]
    assert set(answer["properties"]) == {"model", "version"} | members
    assert answers == {"type": "array", "items": answer}
    if task is Task.CLASSIFICATION:
        assert answer["properties"]["prediction"]["enum"] == ["ham", "spam"]


def test_tensors_have_their_names_and_shapes() -> None:
    """Every input of the signature is needed, once, and its shape begins with the number of rows."""
    operation = documented(GRID, TEXT)["paths"]["/v2/models/m/infer"]["post"]
    inputs = content(operation)["application/json"]["schema"]["properties"]["inputs"]
    assert (inputs["minItems"], inputs["maxItems"]) == (2, 2)
    grid, text = [tensor["properties"] for tensor in inputs["items"]["oneOf"]]
    assert (grid["name"]["const"], grid["datatype"]["const"]) == ("grid", "FP32")
    assert (grid["shape"]["minItems"], grid["shape"]["description"]) == (3, "[rows, 2, 3]")
    assert text["shape"]["description"] == "[rows]"


def test_every_refusal_is_a_problem_document() -> None:
    """Every operation has its refusals, each in the form of the one schema, which has the members of the RFC."""
    whole = documented(TEXT, default="m")
    operations = [operation for item in whole["paths"].values() for operation in item.values()]
    assert len(operations) == 6
    for operation in operations:
        responses = dict(operation["responses"])
        del responses["200"]
        assert {"400", "401", "404", "413", "415", "422", "429", "503", "504"} <= set(responses)
        for response in responses.values():
            assert response["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
    problem = whole["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == {"type", "title", "status", "code", "detail"}


def test_a_key_is_asked_for() -> None:
    """Either of the two ways to send one is enough."""
    whole = documented(TEXT)
    named = {name for way in whole["security"] for name in way}
    assert named == set(whole["components"]["securitySchemes"])
    assert len(whole["security"]) == len(named) == 2

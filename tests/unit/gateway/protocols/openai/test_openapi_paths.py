"""The routes of OpenAI's API in the OpenAPI document."""

from __future__ import annotations

from typing import Any, cast

import pytest

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.protocols.openai.openapi_paths import openai_paths
from tests.unit.gateway.protocols.one_servable import OneServable

TEXT = Field("text", FieldKind.TEXT, "BYTES", max_length=50)
MESSAGES = Field("messages", FieldKind.TEXT, "BYTES", required=False)
PROMPT = Field("prompt", FieldKind.TEXT, "BYTES", required=False)
AUDIO = Field("audio", FieldKind.AUDIO, "BYTES")
VECTOR, ANSWER = Output("vector", "FP32", [4]), Output("text", "BYTES")


def documented(fields: list[Field], output: Output, **members: Any) -> dict[str, Any]:
    manifest = Manifest(Format.TRANSFORMERS, "m", Task.TENSOR, fields, [output], **members)
    return openai_paths([cast(Servable, OneServable("m", manifest))])


@pytest.mark.parametrize(
    ("fields", "output", "stream", "paths"),
    [
        ([TEXT], VECTOR, False, {"/v1/embeddings"}),
        ([MESSAGES, PROMPT], ANSWER, True, {"/v1/chat/completions", "/v1/completions"}),
        ([PROMPT], ANSWER, True, {"/v1/completions"}),
        ([AUDIO], ANSWER, False, {"/v1/audio/transcriptions"}),
        ([TEXT], ANSWER, False, set()),
    ],
)
def test_a_route_is_there_if_a_model_can_answer_it(
    fields: list[Field], output: Output, stream: bool, paths: set[str]
) -> None:
    """With the names of those that can."""
    found = documented(fields, output, stream=stream)
    assert set(found) == paths
    for item in found.values():
        [content] = item["post"]["requestBody"]["content"].values()
        assert content["schema"]["properties"]["model"]["enum"] == ["m"]
        assert "example" not in content["schema"]


def test_moderations_are_there_for_a_classifier_with_the_role() -> None:
    """Which is named if there are several."""
    manifest = Manifest(Format.ONNX, "m", Task.CLASSIFICATION, [TEXT], [Output("p", "FP32", [2])], ["a", "b"])
    assert openai_paths([cast(Servable, OneServable("m", manifest))]) == {}
    manifest.service = Service.MODERATION
    for names, required in ((["m"], ["input"]), (["m", "moderation"], ["input"]), (["m", "n"], ["model", "input"])):
        found = openai_paths([cast(Servable, OneServable(name, manifest)) for name in names])
        content = found["/v1/moderations"]["post"]["requestBody"]["content"]["application/json"]
        assert content["schema"]["required"] == required
        assert content["schema"]["properties"]["input"]["oneOf"][0] == {"type": "string", "maxLength": 50}
        assert content["example"]["model"] == "m"


def test_embeddings_are_bounded_as_the_model_is() -> None:
    """By the length of a text and the width of a vector."""
    schema = documented([TEXT], VECTOR)["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert schema["properties"]["dimensions"]["maximum"] == 4
    assert schema["properties"]["input"]["oneOf"][0] == {"type": "string", "maxLength": 50}

"""The OpenAPI document holds: what it allows is accepted, and what is answered is documented.

The requests are made from the document, the same ones in each run.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.installation import ROOT, Installation

SEVEN = (ROOT / "examples" / "seven.png").read_bytes()
#: The operations on what the gateway keeps.
KEPT = {
    "POST /v1/files",
    "GET /v1/files",
    "GET /v1/files/{file}",
    "DELETE /v1/files/{file}",
    "GET /v1/files/{file}/content",
    "POST /v1/batches",
    "GET /v1/batches",
    "GET /v1/batches/{batch}",
    "POST /v1/batches/{batch}/cancel",
}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


SETTINGS = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)


def read_document(installation: Installation) -> Any:
    """The document as a source of requests."""
    schema = schemathesis.openapi.from_url(f"{installation.url}/openapi.json")
    schema.config.update(base_url=installation.url)
    schema.config.generation.update(with_security_parameters=False)
    schema.config.checks.positive_data_acceptance.expected_statuses = ["200"]

    @schema.hook
    def map_path_parameters(context: Any, path_parameters: Any) -> Any:
        """The version that exists: any number is allowed, and 404."""
        return {"version": "1"} if "version" in (path_parameters or {}) else path_parameters

    return schema


@pytest.fixture(scope="module")
def document(installation: Installation) -> Any:
    return read_document(installation)


@pytest.fixture(scope="module")
def document_for_valid_requests(installation: Installation) -> Any:
    """The same, with what a schema cannot say: a text is an image, and data has the length that a shape says."""
    schema = read_document(installation)

    @schema.hook
    def map_body(context: Any, body: Any) -> Any:
        if context.operation.path.endswith("/infer"):
            content = context.operation.definition.raw["requestBody"]["content"]["application/json"]
            return fitted(body, content["schema"]["properties"]["inputs"]["items"]["oneOf"])
        return with_images(body)

    return schema


def with_images(body: Any) -> Any:
    if isinstance(body, list):
        return [with_images(row) for row in body]
    if isinstance(body, dict) and "image" in body:
        image = body["image"]
        return body | {"image": [seven_for(each) for each in image] if isinstance(image, list) else seven_for(image)}
    if isinstance(body, bytes):
        return SEVEN
    return body


def seven_for(image: Any) -> str | bytes:
    is_base64 = type(image) is str  # a file is of a type of schemathesis' own
    return base64.b64encode(SEVEN).decode() if is_base64 else SEVEN


def fitted(body: dict[str, Any], tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """The request with each tensor once, of three rows, its data repeated or cut to the shape, and time enough."""
    given = {tensor["name"]: tensor for tensor in body["inputs"]}
    inputs = []
    for tensor in tensors:
        properties = tensor["properties"]
        name = properties["name"]["const"]
        shape = [3, *(size["const"] for size in properties["shape"]["prefixItems"][1:])]
        count = math.prod(shape)
        data = given.get(name, {}).get("data") or [plain(properties["data"]["items"])]
        data = (data * count)[:count]
        inputs.append({"name": name, "datatype": properties["datatype"]["const"], "shape": shape, "data": data})
    each_once = {output["name"]: output for output in body.get("outputs") or []}
    parameters = {k: v for k, v in (body.get("parameters") or {}).items() if k != "timeout"}
    return body | {"inputs": inputs, "outputs": list(each_once.values()), "parameters": parameters}


def plain(schema: dict[str, Any]) -> Any:
    """A value that the schema of a scalar allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if "minimum" in schema:
        return min(max(1, schema["minimum"]), schema["maximum"])
    return {"string": "", "boolean": False}[schema["type"]]


def ask(operation: Any, mode: GenerationMode, key: str, checks: list[Any]) -> None:
    """Send requests of one operation and check the answers."""

    @SETTINGS
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"API-Key": key}, checks=checks)

    run()


def operations(document: Any) -> dict[str, Any]:
    return {operation.label: operation for operation in (result.ok() for result in document.get_all_operations())}


def test_every_call_is_documented(document: Any) -> None:
    """The operations that the tests below go through."""
    versions = ("", "/versions/{version}")
    models = ("spam", "digits", "price")
    assert set(operations(document)) == {
        "GET /v1/models",
        "POST /predict",
        "POST /v1/classify",
        *KEPT,
        *(f"POST /v1/models/{model}{version}/predict" for model in models for version in versions),
        *(f"POST /v2/models/{model}{version}/infer" for model in models for version in versions),
    }


def test_what_the_document_allows_is_accepted(document_for_valid_requests: Any, unlimited_key: str) -> None:
    """Every request that fits the document is answered with 200, as documented.

    Images as tensors are binary data, which no schema describes; nor does one say which files there are.
    """
    for label, operation in operations(document_for_valid_requests).items():
        if not label.startswith("POST /v2/models/digits") and label not in KEPT:
            ask(operation, GenerationMode.POSITIVE, unlimited_key, [*CHECKS, positive_data_acceptance])


def test_what_the_document_does_not_allow_is_answered_as_documented(document: Any, unlimited_key: str) -> None:
    """Requests that differ from the document never become a server error or an undocumented answer."""
    for label, operation in operations(document).items():
        if label.startswith("POST"):
            ask(operation, GenerationMode.NEGATIVE, unlimited_key, CHECKS)

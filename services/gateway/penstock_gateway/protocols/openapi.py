"""The OpenAPI document: one set of paths per model, from its signature."""

from __future__ import annotations

from typing import Any

from penstock_common.manifest import FieldKind, Manifest, Task
from penstock_common.version import VERSION
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.signature.json_schema import row_schema

_PROBLEM_STATUSES = {
    "400": "The body is not readable.",
    "401": "The API key is missing, unknown or revoked.",
    "404": "No such model, alias or version.",
    "413": "The body or the list of rows is too large.",
    "415": "The content type or the image format is not understood.",
    "422": "A field does not fit the model's signature; the problem names it.",
    "429": "The key's rate limit; Retry-After says when to come back.",
    "503": "Overloaded, loading or unreachable; Retry-After says when to come back.",
    "504": "The request's time was up before the model answered.",
}


def document(catalog: Catalog, default_model: str) -> dict[str, Any]:
    """OpenAPI 3.1 of what the gateway serves now."""
    paths: dict[str, Any] = {
        "/v1/models": {
            "get": {
                "summary": "The models and what their aliases point at",
                "responses": _responses({"type": "object"}),
            }
        }
    }
    for servable in catalog.production():
        model, predict, infer = servable.model, _predict(servable), _infer(servable)
        paths[f"/v1/models/{model}/predict"] = {"post": predict}
        paths[f"/v1/models/{model}/versions/{{version}}/predict"] = {"post": _of_a_version(predict)}
        paths[f"/v2/models/{model}/infer"] = {"post": infer}
        paths[f"/v2/models/{model}/versions/{{version}}/infer"] = {"post": _of_a_version(infer)}
        if model == default_model:
            paths["/predict"] = {"post": predict | {"operationId": "predict_default"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": VERSION,
            "description": "Predictions from this installation's models, "
            "as fields (/v1) or as tensors of the Open Inference Protocol (/v2).",
        },
        "paths": paths,
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "components": {
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "API-Key"},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "code", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "code": {"type": "string"},
                        "detail": {"type": "string"},
                        "request_id": {"type": "string"},
                    },
                }
            },
        },
    }


def _predict(servable: Servable) -> dict[str, Any]:
    manifest = servable.signature.manifest
    row = row_schema(manifest)
    content: dict[str, Any] = {
        "application/json": {"schema": {"oneOf": [row, {"type": "array", "items": row, "minItems": 1}]}}
    }
    if manifest.examples:
        content["application/json"]["example"] = manifest.examples[0]
    if any(field.kind is FieldKind.IMAGE for field in manifest.inputs):
        parts = {f.name: {"type": "string", "format": "binary"} for f in manifest.inputs}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": parts}}
    answer = _answer(manifest)
    return {
        "operationId": f"predict_{servable.model}",
        "tags": [servable.model],
        "summary": f"Ask {servable.model}",
        "description": manifest.description,
        "requestBody": {"required": True, "content": content},
        "responses": _responses({"oneOf": [answer, {"type": "array", "items": answer}]}),
    }


def _of_a_version(operation: dict[str, Any]) -> dict[str, Any]:
    """The same operation with the version in its path."""
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "A version that an alias points at.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    }
    operation_id = f"{operation['operationId']}_version"
    return operation | {"operationId": operation_id, "parameters": [version]}


def _infer(servable: Servable) -> dict[str, Any]:
    """The Open Inference Protocol's call, with the names and types of this model's tensors."""
    manifest = servable.signature.manifest
    inputs = [_tensor(f.name, f.datatype, f.shape) for f in manifest.inputs]
    outputs = [_tensor(o.name, o.datatype, o.shape) for o in manifest.outputs]
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": {"oneOf": inputs}, "minItems": len(inputs), "maxItems": len(inputs)},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        },
    }
    answer = {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"oneOf": outputs}},
        },
    }
    return {
        "operationId": f"infer_{servable.model}",
        "tags": [servable.model],
        "summary": f"Ask {servable.model} (Open Inference Protocol v2)",
        "description": "Binary tensors are sent and answered as in Triton's binary tensor data extension.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": _responses(answer),
    }


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    """One tensor in JSON; the number of rows comes first in its shape."""
    rest = "".join(f", {size}" for size in shape)
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1 + len(shape),
                "description": f"[rows{rest}]",
            },
            "data": {"type": "array"},
        },
    }


def _answer(manifest: Manifest) -> dict[str, Any]:
    properties: dict[str, Any] = {"model": {"type": "string"}, "version": {"type": "string"}}
    if manifest.task is Task.CLASSIFICATION:
        properties["prediction"] = {"type": "string", "enum": manifest.labels}
        properties["confidence"] = {"type": "number", "minimum": 0, "maximum": 1}
        properties["probabilities"] = {"type": "object", "additionalProperties": {"type": "number"}}
    elif manifest.task is Task.REGRESSION:
        properties["prediction"] = {"type": "number"}
    else:
        properties["outputs"] = {"type": "object"}
    return {"type": "object", "properties": properties}


def _responses(schema: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"200": {"description": "The answer.", "content": {"application/json": {"schema": schema}}}} | {
        status: {"description": text, "content": problem} for status, text in _PROBLEM_STATUSES.items()
    }

"""The OpenAPI document: one set of paths per model, from its signature."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from penstock_common.manifest import FILE_KINDS, FieldKind, Manifest, Task
from penstock_common.version import VERSION
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.openapi_batches import batch_paths
from penstock_gateway.protocols.openai.openapi_paths import openai_paths
from penstock_gateway.protocols.openapi_oip import infer_operation
from penstock_gateway.protocols.openapi_responses import event_responses, responses
from penstock_gateway.protocols.tasks.openapi_paths import task_paths, task_schemas
from penstock_gateway.signature.json_schema import form_schema, row_schema


class OpenApi:
    """``GET /openapi.json`` for those with a key; the arguments are those of ``document``."""

    def __init__(self, catalog: Catalog, default_model: str, batch_endpoints: Collection[str]) -> None:
        self._catalog = catalog
        self._default_model = default_model
        self._batch_endpoints = batch_endpoints

    async def __call__(self, _: Call) -> Reply:
        return Reply(orjson.dumps(document(self._catalog, self._default_model, self._batch_endpoints)))


def document(catalog: Catalog, default_model: str, batch_endpoints: Collection[str] = ()) -> dict[str, Any]:
    """OpenAPI 3.1 of what the gateway serves now.

    Args:
        default_model: the model of ``/predict``.
        batch_endpoints: the paths that the requests of batches may have; none if there are no batches.
    """
    paths: dict[str, Any] = {
        "/v1/models": {
            "get": {
                "summary": "The models and what their aliases point at",
                "responses": responses({"type": "object"}),
            }
        }
    }
    servables = catalog.production()
    paths |= openai_paths(servables)
    if batch_endpoints:
        paths |= batch_paths(batch_endpoints)
    paths |= task_paths(servables)
    for servable in servables:
        model, predict, infer = servable.model, _predict(servable), infer_operation(servable.signature)
        if servable.signature.manifest.stream:
            stream = _stream(servable)
            paths[f"/v1/models/{model}/stream"] = {"post": stream}
            paths[f"/v1/models/{model}/versions/{{version}}/stream"] = {"post": _of_a_version(stream)}
            continue
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
            "schemas": task_schemas()
            | {
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
                        "error": {
                            "type": ["string", "object"],
                            "description": "On /v2: the detail, as its protocol names it. On the routes of OpenAI's "
                            "API: its error object.",
                        },
                    },
                }
            },
        },
    }


def _predict(servable: Servable) -> dict[str, Any]:
    manifest = servable.signature.manifest
    row = row_schema(manifest)
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": servable.signature.bounds.max_rows}
    content: dict[str, Any] = {"application/json": {"schema": {"oneOf": [row, rows]} if manifest.batch else row}}
    if manifest.examples:
        content["application/json"]["example"] = manifest.examples[0]
    if any(field.kind in FILE_KINDS for field in manifest.client_inputs):
        tensors = {
            f.name: {"contentType": "application/json"}
            for f in manifest.client_inputs
            if f.kind is FieldKind.TENSOR or f.has_images
        }
        form = {"schema": form_schema(manifest)} | ({"encoding": tensors} if tensors else {})
        content["multipart/form-data"] = form
    answer = _answer(manifest)
    return {
        "operationId": f"predict_{servable.model}",
        "tags": [servable.model],
        "summary": f"Ask {servable.model}",
        "description": manifest.description,
        "requestBody": {"required": True, "content": content},
        "responses": responses({"oneOf": [answer, {"type": "array", "items": answer}]} if manifest.batch else answer),
    }


def _stream(servable: Servable) -> dict[str, Any]:
    """``predict`` for one row, answered with events."""
    manifest = servable.signature.manifest
    predict = _predict(servable)
    content = predict["requestBody"]["content"]
    content["application/json"]["schema"] = row_schema(manifest)
    return predict | {
        "operationId": f"stream_{servable.model}",
        "summary": f"Ask {servable.model} for a stream",
        "responses": event_responses(_answer(manifest)),
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

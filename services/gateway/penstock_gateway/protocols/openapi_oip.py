"""The Open Inference Protocol's call in the OpenAPI document, with the names and types of a model's tensors."""

from __future__ import annotations

import math
from typing import Any

from penstock_common.dimensions import is_size
from penstock_common.manifest import FILE_KINDS, Dimension, Field, Manifest
from penstock_gateway.protocols.openapi_responses import responses
from penstock_gateway.signature.json_schema import value_schema
from penstock_gateway.signature.signature import Signature

_DESCRIPTION = (
    "Binary tensors are sent and answered as in Triton's binary tensor data extension. An output's parameter "
    "`classification`: K answers its K likeliest classes as BYTES instead, as in Triton's extension. `timeout` is in "
    "microseconds. `non_finite_as_null` writes NaN and infinity as null, which are otherwise the model's fault. "
    "Other parameters are refused."
)
_FILES = " Images and sounds are sent as binary data only: JSON for the tensors, then their bytes (`binary_data_size`)."


def infer_operation(signature: Signature) -> dict[str, Any]:
    """``POST /v2/models/{model}/infer``."""
    manifest = signature.manifest
    files = any(field.kind in FILE_KINDS for field in manifest.client_inputs)
    content = {"application/json": {"schema": _request(manifest, signature.bounds.max_rows)}}
    return {
        "operationId": f"infer_{signature.model}",
        "tags": [signature.model],
        "summary": f"Ask {signature.model} (Open Inference Protocol v2)",
        "description": _DESCRIPTION + (_FILES if files else ""),
        "requestBody": {"required": True, "content": content},
        "responses": responses(_answer(manifest), binary=True),
    }


def _request(manifest: Manifest, max_rows: int) -> dict[str, Any]:
    inputs, outputs = manifest.client_inputs, manifest.outputs
    parameters = {
        "binary_data_output": {"type": "boolean"},
        "timeout": {"type": "integer", "minimum": 0},
        "non_finite_as_null": {"type": "boolean"},
    }
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"enum": [output.name for output in outputs]},
            "parameters": _parameters({"binary_data": {"type": "boolean"}}),
        },
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _parameters(parameters),
            "inputs": {
                "type": "array",
                "description": "Each once, in any order; those of optional fields may be absent.",
                "items": {"oneOf": [_input(field, max_rows if manifest.batch else None) for field in inputs]},
                "minItems": sum(field.required for field in inputs),
                "maxItems": len(inputs),
            },
            "outputs": {
                "type": ["array", "null"],
                "description": "Each at most once; absent, null or empty: all of them.",
                "items": output,
                "maxItems": len(outputs),
            },
        },
    }


def _input(field: Field, max_rows: int | None) -> dict[str, Any]:
    """A tensor; ``max_rows`` is None for a model without a batch."""
    tensor = _tensor(field.name, field.datatype, field.shape, batch=max_rows is not None)
    sizes = [{"const": size} if is_size(size) else {"type": "integer", "minimum": 1} for size in field.shape]
    rows = [{"type": "integer", "minimum": 1, "maximum": max_rows}] if max_rows is not None else []
    tensor["properties"]["shape"]["prefixItems"] = [*rows, *sizes]
    if field.kind in FILE_KINDS:
        tensor["properties"]["parameters"] = {
            "type": "object",
            "required": ["binary_data_size"],
            "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
            "additionalProperties": False,
        }
        del tensor["properties"]["data"]
        tensor["required"] = ["name", "datatype", "shape", "parameters"]
        return tensor
    tensor["properties"]["data"] = {
        "type": "array",
        "description": "Row-major, flat or nested as the shape says.",
        "items": value_schema(field),
        "minItems": math.prod([size for size in field.shape if isinstance(size, int) and size > 0]),
    }
    return tensor


def _answer(manifest: Manifest) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {
                "type": "array",
                "items": {
                    "oneOf": [
                        _tensor(output.name, output.datatype, output.shape, batch=manifest.batch)
                        for output in manifest.outputs
                    ]
                },
            },
        },
    }


def _tensor(name: str, datatype: str, shape: list[Dimension], *, batch: bool) -> dict[str, Any]:
    """One tensor in JSON; the number of rows comes first in its shape, if there is a batch."""
    sizes = ["rows"] * batch + [str(size) for size in shape]
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": len(sizes),
                "maxItems": len(sizes),
                "description": f"[{', '.join(sizes)}]",
            },
            "data": {"type": "array"},
        },
    }


def _parameters(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}

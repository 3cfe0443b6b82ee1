"""The JSON Schema of a model's rows, for its OpenAPI documentation."""

from __future__ import annotations

from typing import Any

from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.tensors import NUMPY_DTYPES


def row_schema(manifest: Manifest) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _field_schema(field) for field in manifest.inputs},
        "required": [field.name for field in manifest.inputs if field.required],
        "additionalProperties": False,
    }
    if manifest.description:
        schema["description"] = manifest.description
    if manifest.examples:
        schema["examples"] = manifest.examples
    return schema


def _field_schema(field: Field) -> dict[str, Any]:
    schema = _value_schema(field)
    for size in reversed(field.shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    if field.description:
        schema["description"] = field.description
    if not field.required:
        schema["default"] = field.default
    return schema


def _value_schema(field: Field) -> dict[str, Any]:
    if field.kind is FieldKind.IMAGE:
        return {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
    if field.kind is FieldKind.CATEGORY:
        return {"type": "string", "enum": field.categories}
    if field.datatype == "BYTES":
        return {"type": "string"} if field.max_length is None else {"type": "string", "maxLength": field.max_length}
    kind = NUMPY_DTYPES[field.datatype].kind
    if kind == "b":
        return {"type": "boolean"}
    schema: dict[str, Any] = {"type": "number" if kind == "f" else "integer"}
    if field.minimum is not None:
        schema["minimum"] = field.minimum
    if field.maximum is not None:
        schema["maximum"] = field.maximum
    return schema

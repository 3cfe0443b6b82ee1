"""The JSON Schema of a model's rows, for its OpenAPI documentation: what it allows, the decoder accepts."""

from __future__ import annotations

from typing import Any

from penstock_common.audio_format import AUDIO_FORMATS
from penstock_common.dimensions import is_size
from penstock_common.manifest import FILE_KINDS, Field, FieldKind, Manifest
from penstock_common.manifest_values import max_bytes
from penstock_common.tensors import NUMPY_DTYPES, kind_of
from penstock_gateway.signature.numeric_checks import bounds


def row_schema(manifest: Manifest) -> dict[str, Any]:
    """One row in JSON."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: field_schema(field) for field in manifest.client_inputs},
        "required": [field.name for field in manifest.client_inputs if field.required],
        "additionalProperties": False,
    }
    if manifest.description:
        schema["description"] = manifest.description
    if manifest.examples:
        schema["examples"] = manifest.examples
    return schema


def form_schema(manifest: Manifest) -> dict[str, Any]:
    """One row as a multipart form; an image or a sound is a file of it."""
    schema = row_schema(manifest)
    for field in manifest.client_inputs:
        if field.kind in FILE_KINDS and not field.has_images:
            schema["properties"][field.name] = {"type": "string", "format": "binary", "description": _file(field)}
    schema.pop("examples", None)
    return schema


def value_schema(field: Field) -> dict[str, Any]:
    """One element of a field: the field itself, if it is a scalar."""
    if field.kind in FILE_KINDS:
        return {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "image/png" if field.kind is FieldKind.IMAGE else "audio/wav",
            "description": _file(field),
        }
    if field.kind is FieldKind.CATEGORY:
        return {"type": "string", "enum": field.categories}
    if field.datatype == "BYTES":
        return {"type": "string"} if field.max_length is None else {"type": "string", "maxLength": field.max_length}
    kind = kind_of(NUMPY_DTYPES[field.datatype])
    if kind == "b":
        return {"type": "boolean"}
    low, high = bounds(field)
    return {"type": "number" if kind == "f" else "integer", "minimum": low, "maximum": high}


def field_schema(field: Field) -> dict[str, Any]:
    """One field of a row."""
    schema = value_schema(field)
    for size in reversed(field.shape):
        lengths = {"minItems": size, "maxItems": size} if is_size(size) else {"minItems": 1}
        schema = {"type": "array", "items": schema} | lengths
    if field.description:
        schema["description"] = " ".join(filter(None, (field.description, schema.get("description"))))
    if field.default is not None:
        schema["default"] = field.default
    return schema


def _file(field: Field) -> str:
    if field.kind is FieldKind.AUDIO:
        return f"A {AUDIO_FORMATS} of at most {max_bytes(field):,} bytes and {field.most_seconds:g} seconds."
    return f"A PNG, JPEG or WebP of at most {max_bytes(field):,} bytes."

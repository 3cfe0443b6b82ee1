"""The routes of files and batches in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from penstock_gateway.files.file_record import BATCH
from penstock_gateway.protocols.openapi_responses import responses

_OBJECT = {"type": "object"}
_METADATA = {
    "type": "object",
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
_EXPIRES_AFTER = {
    "type": "object",
    "required": ["anchor", "seconds"],
    "properties": {
        "anchor": {"const": "created_at"},
        "seconds": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
    },
}
_AFTER = {
    "name": "after",
    "in": "query",
    "description": "The `last_id` of the page before.",
    "schema": {"type": "string"},
}


def batch_paths(endpoints: Collection[str]) -> dict[str, Any]:
    """The paths; ``endpoints`` are those that a batch's requests may have."""
    file, batch = _id("file", "^file-[0-9a-f]{32}$"), _id("batch", "^batch_[0-9a-f]{32}$")
    order = {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"], "default": "desc"}}
    purpose = {"name": "purpose", "in": "query", "schema": {"type": "string"}}
    content = _operation("Show what is in a file", [file])
    content["responses"]["200"]["content"] = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    return {
        "/v1/files": {
            "post": _operation("Upload a file", [], _upload(), "multipart/form-data"),
            "get": _operation("List files", [_limit(10_000, 10_000), order, _AFTER, purpose]),
        },
        "/v1/files/{file}": {
            "get": _operation("Show a file", [file]),
            "delete": _operation("Delete a file", [file]),
        },
        "/v1/files/{file}/content": {"get": content},
        "/v1/batches": {
            "post": _operation("Answer a file of requests", [], _order(endpoints)),
            "get": _operation("List batches", [_limit(100, 20), _AFTER]),
        },
        "/v1/batches/{batch}": {"get": _operation("Show a batch", [batch])},
        "/v1/batches/{batch}/cancel": {"post": _operation("Cancel a batch", [batch])},
    }


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    body: dict[str, Any] | None = None,
    content_type: str = "application/json",
) -> dict[str, Any]:
    operation = {
        "operationId": summary.lower().replace(" ", "_"),
        "tags": ["OpenAI"],
        "summary": summary,
        "description": "As OpenAI's clients call it; an error has their `error` object.",
        "parameters": parameters,
        "responses": responses(_OBJECT),
    }
    if body is None:
        return operation
    return operation | {"requestBody": {"required": True, "content": {content_type: {"schema": body}}}}


def _upload() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "purpose": {"const": BATCH},
            "expires_after[anchor]": {"const": "created_at"},
            "expires_after[seconds]": _EXPIRES_AFTER["properties"]["seconds"],  # type: ignore[index]
        },
    }


def _order(endpoints: Collection[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["input_file_id", "endpoint", "completion_window"],
        "properties": {
            "input_file_id": {"type": "string"},
            "endpoint": {"enum": sorted(endpoints)},
            "completion_window": {"const": "24h"},
            "metadata": _METADATA,
            "output_expires_after": _EXPIRES_AFTER,
        },
    }


def _id(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _limit(most: int, default: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return {"name": "limit", "in": "query", "schema": schema}

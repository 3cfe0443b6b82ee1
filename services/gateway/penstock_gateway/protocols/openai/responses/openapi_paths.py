"""The routes of responses in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_gateway.protocols.openapi_responses import responses

_DESCRIPTION = "As OpenAI's clients call it; an error has their `error` object."
_OBJECT = {"type": "object"}
_ID = {
    "name": "response",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^resp_[0-9a-f]{48}$"},
}
_ITEM = {
    "type": "object",
    "properties": {
        "type": {"enum": ["message", "function_call", "function_call_output"], "default": "message"},
        "role": {"enum": ["user", "assistant", "system", "developer"]},
        "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": _OBJECT}]},
    },
}
#: How a text is drawn, in a request of any route that writes one.
SAMPLING = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
}
_PAGE = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"], "default": "desc"}},
    {"name": "after", "in": "query", "description": "The `last_id` of the page before.", "schema": {"type": "string"}},
]


def response_paths(names: Sequence[str]) -> dict[str, Any]:
    """The paths, for the models of these names."""
    return {
        "/v1/responses": {"post": _create(names)},
        "/v1/responses/{response}": {
            "get": _operation("Show a stored response", [_ID]),
            "delete": _operation("Delete a stored response", [_ID]),
        },
        "/v1/responses/{response}/input_items": {
            "get": _operation("List what a stored response answers", [_ID, *_PAGE]),
        },
    }


def _operation(summary: str, parameters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": summary.lower().replace(" ", "_"),
        "tags": ["OpenAI"],
        "summary": summary,
        "description": _DESCRIPTION,
        "parameters": list(parameters),
        "responses": responses(_OBJECT),
    }


def _create(names: Sequence[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string", "enum": list(names)},
            "input": {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _ITEM}]},
            "instructions": {"type": "string"},
            "previous_response_id": {"type": "string"},
            "max_output_tokens": {"type": "integer", "minimum": 1},
            **SAMPLING,
            "text": {"type": "object", "properties": {"format": _OBJECT}},
            "tools": {"type": "array", "items": _OBJECT, "maxItems": 128},
            "tool_choice": {"oneOf": [{"enum": ["none", "auto", "required"]}, _OBJECT]},
            "store": {"type": "boolean"},
            "stream": {"type": "boolean"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 512}},
        },
    }
    example = {"model": names[0], "input": "What is a penstock?", "max_output_tokens": 32}
    operation = _operation("Respond to a conversation", [])
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return operation

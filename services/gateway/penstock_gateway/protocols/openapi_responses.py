"""What an operation may answer, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

_PROBLEM_STATUSES = {
    "400": "The body, its encoding or a header is not readable, or a parameter is not supported.",
    "401": "The API key is missing, unknown, revoked or expired.",
    "403": "The key may not ask this model.",
    "404": "No such model, alias, version, file, batch or stored response.",
    "409": "The version is registered, but no alias points at it; or the batch is over.",
    "413": "The body, an image, a sound, the number of rows or the answer is too large; the problem names the bound.",
    "415": "The content type, the content encoding or the format of an image or a sound is not understood.",
    "422": "A field does not fit the model's signature; the problem names it.",
    "429": "The key's rate limit; Retry-After says when to come back.",
    "500": "The gateway, or the model, failed on this request.",
    "503": "Overloaded, loading or unreachable; Retry-After says when to come back.",
    "504": "The request's time was up before the model answered.",
}


def responses(schema: dict[str, Any], *, binary: bool = False) -> dict[str, Any]:
    """The answer of ``schema`` in JSON, also as JSON followed by bytes if ``binary``, and every refusal."""
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if binary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"200": {"description": "The answer.", "content": content}} | {
        status: {"description": text, "content": problem} for status, text in _PROBLEM_STATUSES.items()
    }


def event_responses(schema: dict[str, Any]) -> dict[str, Any]:
    """A stream of events, each with a document of ``schema``, and every refusal."""
    description = (
        "The answer as it comes: an event for each chunk, whose data is a document of the schema in JSON; last, "
        "`data: [DONE]`. An error after the first event is an event `error` with the problem, and the last one."
    )
    # OpenAPI 3.1 describes the whole of a text; 3.2 will have itemSchema for its events.
    content = {"text/event-stream": {"schema": {"type": "string", "contentSchema": schema}}}
    return responses(schema) | {"200": {"description": description, "content": content}}

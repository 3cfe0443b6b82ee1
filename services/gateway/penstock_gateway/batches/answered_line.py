"""The line that answers a request, as OpenAI's output and error files have it."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import msgspec

from penstock_gateway.batches.token_usage import TokenUsage, usage_of


class AnsweredLine(NamedTuple):
    """One line of the output file, or of the error file if the request has failed."""

    failed: bool
    line: bytes
    expired: bool = False
    usage: TokenUsage = TokenUsage()


def new_request_id() -> str:
    return f"batch_req_{secrets.token_hex(16)}"


def answered(request_id: str, custom_id: str, status: int, body: bytes) -> AnsweredLine:
    """What a route has answered; ``body`` is JSON."""
    response = {"status_code": status, "request_id": request_id, "body": msgspec.Raw(body)}
    failed = status >= 400
    usage = TokenUsage() if failed else usage_of(body)
    return AnsweredLine(failed, _line(request_id, custom_id, response, None), usage=usage)


def expired(custom_id: str) -> AnsweredLine:
    """A request for which the completion window was too short."""
    text = "This request could not be executed before the completion window expired."
    line = _line(new_request_id(), custom_id, None, {"code": "batch_expired", "message": text})
    return AnsweredLine(failed=True, line=line, expired=True)


def _line(request_id: str, custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    line = {"id": request_id, "custom_id": custom_id, "response": response, "error": error}
    return msgspec.json.encode(line) + b"\n"

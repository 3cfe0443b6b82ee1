"""Errors as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}``.

An answer is a problem document too, as on all other routes.
"""

from __future__ import annotations

from typing import Any

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Reply
from penstock_gateway.edge.problem import problem_reply

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def openai_error(err: PenstockError) -> dict[str, Any]:
    """The error object, also as a stream sends it when it fails on its way."""
    kind = _TYPES.get(err.status, "invalid_request_error" if err.status < 500 else "server_error")
    return {"error": {"message": err.detail, "type": kind, "param": err.extra.get("field"), "code": err.code}}


def openai_reply(err: PenstockError, request_id: bytes, path: str) -> Reply:
    """The answer that an error becomes; input that does not fit is 400 here, as OpenAI's clients expect."""
    if err.status == 422:
        err = PenstockError(400, err.code, err.detail, headers=err.headers, extra=err.extra)
    return problem_reply(err, request_id, path, openai_error(err))


def router_members(err: PenstockError, path: str) -> dict[str, Any]:
    """The members that a refusal of the router has beside those of a problem: on OpenAI's paths, the error object."""
    return openai_error(err) if path.startswith("/v1/") else {}


def bad_request(detail: str, param: str | None = None, code: str = "invalid-request") -> PenstockError:
    """An error of the request itself; ``param`` is the member that it is about."""
    return PenstockError(400, code, detail, extra={"field": param} if param else None)

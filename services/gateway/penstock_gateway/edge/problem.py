"""Errors as problem documents (RFC 9457), each with the request's id."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock_common.errors import PenstockError, no_such_call
from penstock_gateway.edge.call import Reply
from penstock_gateway.limits.admission import Usage

REQUESTS = Counter("penstock_gateway_requests_total", "Requests, by route and status.", ["route", "status"])

INTERNAL = PenstockError(500, "internal", "The gateway failed on this request; its log has the request id.")

_PROBLEM = b"application/problem+json"


def request_id_of(given: bytes | None) -> bytes:
    """The caller's ``X-Request-ID`` if it is short and harmless in a header and a log line, else a new one."""
    if given and len(given) <= 128 and given.isascii() and given.decode("ascii").isprintable():
        return given
    return b"%016x" % random.getrandbits(64)


def drop_frames(err: BaseException) -> None:
    """Free what an error keeps alive that is going to be answered.

    Its traceback, and those of the errors before it, hold the frames that they passed through, and with them
    the request's body. A frame that holds its error too would keep all of it until the next collection of
    cycles, which is tuned to be rare.
    """
    left: list[BaseException | None] = [err]
    while left:
        one = left.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            left += (one.__cause__, one.__context__)


def problem_reply(err: PenstockError, request_id: bytes, path: str, members: Mapping[str, Any] | None = None) -> Reply:
    """The answer that an error becomes, on the route of this path; ``members`` are those of a protocol."""
    usage = Usage(refused=err.status == 503)
    return Reply(_document(err, request_id, path, members or {}), _PROBLEM, err.status, _headers(err), usage)


def closing_answer(err: PenstockError) -> bytes:
    """A whole answer, counted, for a connection that is closed after it."""
    REQUESTS.labels("none", str(err.status)).inc()
    request_id = request_id_of(None)
    document = _document(err, request_id, "", {})
    fields = [
        (b"content-type", _PROBLEM),
        (b"content-length", b"%d" % len(document)),
        (b"connection", b"close"),
        (b"x-request-id", request_id),
        *_headers(err),
    ]
    lines = [name + b": " + value + b"\r\n" for name, value in fields]
    return b"".join([STATUS_LINE[err.status], *lines, b"\r\n", document])


async def no_such_route(
    members: Callable[[PenstockError, str], Mapping[str, Any]], request: Request, err: Exception
) -> Response:
    """The router's own refusals, 404 and 405, as problem documents.

    Args:
        members: returns those of a protocol, for an error on a path.
    """
    assert isinstance(err, HTTPException)
    refusal = no_such_call(err.status_code, request.method, request.url.path, err.headers)
    REQUESTS.labels("none", str(refusal.status)).inc()
    request_id = request_id_of(dict(request.scope["headers"]).get(b"x-request-id"))
    headers = {**refusal.headers, "X-Request-ID": request_id.decode()}
    path = request.url.path
    document = _document(refusal, request_id, path, members(refusal, path))
    return Response(document, refusal.status, headers, media_type=_PROBLEM.decode())


def _headers(err: PenstockError) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in err.headers.items()]


def _document(err: PenstockError, request_id: bytes, path: str, more: Mapping[str, Any]) -> bytes:
    members = {**err.problem(), "request_id": request_id.decode(), **more}
    if path.startswith("/v2"):  # the Open Inference Protocol has this member, and its clients read only it
        members["error"] = err.detail
    return orjson.dumps(members)

"""What every protected route does around its own work.

An ``Edge`` is a plain ASGI endpoint: FastAPI's handling of a typed body costs
several times what the whole of this does. In order: credential, limit, body,
deadline, the handler, the answer; any error becomes a problem document.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from penstock_common.errors import PenstockError, no_such_call
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.health import Health
from penstock_gateway.limits.local import Limiter

log = structlog.get_logger()

REQUESTS = Counter("penstock_gateway_requests_total", "Requests, by route and status.", ["route", "status"])
SECONDS = Histogram(
    "penstock_gateway_request_seconds",
    "Time from the request's headers to its answer.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
_PROBLEM = b"application/problem+json"


@dataclass(slots=True)
class Call:
    """One authenticated request.

    ``deadline`` is on ``time.monotonic``'s clock.
    """

    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes
    principal: Principal
    deadline: float
    receive: Receive


@dataclass(slots=True)
class Reply:
    body: bytes
    content_type: bytes = JSON
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(slots=True)
class Guard:
    """What the edges of one gateway share."""

    keys: KeyRing
    limiter: Limiter
    health: Health
    disconnects: DisconnectWatch
    timeout_seconds: float
    max_body_bytes: int
    log_all: bool


class Edge:
    """A protected route as an ASGI application.

    Args:
        route: its name in metrics and logs.
        handler: the route's own work.
    """

    def __init__(self, route: str, guard: Guard, handler: Handler) -> None:
        self._route = route
        self._guard = guard
        self._handler = handler
        self._seconds = SECONDS.labels(route)
        self._ok = REQUESTS.labels(route, "200")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(raw_headers)
        request_id = _request_id(headers.get(b"x-request-id"))
        extra: list[tuple[bytes, bytes]] = []
        guard = self._guard
        problem: PenstockError | None = None
        try:
            principal = guard.keys.authenticate(raw_headers)
            state = guard.limiter.take(principal)
            extra = guard.limiter.headers(state)
            if not state.allowed:
                raise guard.limiter.refusal(state)
            deadline = started + _timeout(headers.get(b"x-request-timeout"), guard.timeout_seconds)
            body = await _read_body(headers, receive, guard.max_body_bytes, deadline)
            call = Call(scope.get("path_params", {}), headers, body, principal, deadline, receive)
            reply = await self._handler(call)
        except PenstockError as err:
            problem = err
        except asyncio.CancelledError:
            # Nobody is left to answer: the client went away, or the server is being stopped for good.
            REQUESTS.labels(self._route, "499").inc()
            if not guard.disconnects.took(asyncio.current_task()):
                raise
            return
        except Exception:
            log.exception("unhandled", route=self._route, request_id=request_id.decode())
            problem = PenstockError(500, "internal", "The gateway failed on this request; its log has the request id.")
        if problem is not None:
            # A refusal that has its own Retry-After replaces the limiter's.
            extra = [(k, v) for k, v in extra if k.decode() not in {h.lower() for h in problem.headers}]
            extra += [(k.lower().encode(), v.encode()) for k, v in problem.headers.items()]
            reply = Reply(_document(problem, request_id), _PROBLEM, problem.status)
        if guard.health.draining:
            # The client's next request then opens a connection, to a gateway that stays.
            extra = [*extra, (b"connection", b"close")]
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [
                    (b"content-type", reply.content_type),
                    (b"content-length", b"%d" % len(reply.body)),
                    (b"x-request-id", request_id),
                    *extra,
                    *reply.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": reply.body})
        elapsed = time.monotonic() - started
        self._seconds.observe(elapsed)
        if reply.status == 200:
            self._ok.inc()
        else:
            REQUESTS.labels(self._route, str(reply.status)).inc()
        if guard.log_all or reply.status >= 400:
            log.info(
                "request",
                route=self._route,
                path=scope["path"],
                status=reply.status,
                code=problem.code if problem else None,
                ms=round(elapsed * 1000, 2),
                request_id=request_id.decode(),
            )


async def no_route(request: Request, err: Exception) -> Response:
    """The router's own refusals as problem documents."""
    assert isinstance(err, HTTPException)
    refusal = no_such_call(err.status_code, request.method, request.url.path, err.headers)
    REQUESTS.labels("none", str(refusal.status)).inc()
    request_id = _request_id(dict(request.scope["headers"]).get(b"x-request-id"))
    headers = {**refusal.headers, "X-Request-ID": request_id.decode()}
    return Response(_document(refusal, request_id), refusal.status, headers, media_type=_PROBLEM.decode())


def _document(problem: PenstockError, request_id: bytes) -> bytes:
    return orjson.dumps(problem.problem() | {"request_id": request_id.decode()})


def _request_id(given: bytes | None) -> bytes:
    """The caller's id where it is short and harmless in a header and a log line, else a new one."""
    if given and len(given) <= 128 and given.isascii() and given.decode("ascii").isprintable():
        return given
    return b"%016x" % random.getrandbits(64)


def _timeout(given: bytes | None, longest: float) -> float:
    if given is None:
        return longest
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise PenstockError(
            400, "bad-timeout", f"X-Request-Timeout: {given[:40]!r} is not a positive number of seconds."
        )
    return min(seconds, longest)


async def _read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int, deadline: float) -> bytes:
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    if not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    chunks = [message["body"]]
    size = len(chunks[0])
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise PenstockError(499, "client-gone", "The client closed the connection.")
                chunks.append(message["body"])
                size += len(message["body"])
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise PenstockError(504, "deadline-exceeded", "The request's body did not arrive in time.") from None
    return b"".join(chunks)


def _too_large(limit: int) -> PenstockError:
    return PenstockError(
        413,
        "body-too-large",
        f"The body is larger than {limit} bytes; send fewer rows or a smaller file.",
        extra={"limit": limit},
    )

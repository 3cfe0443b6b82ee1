"""What every protected route does around its own work.

An ``Endpoint`` is a plain ASGI application: FastAPI's handling of a typed body costs
several times what the whole of this does. In order: credential, rate, deadline,
body, the handler, the answer, and what the request used. Any error becomes a
problem document, or what the route's protocol has in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

import structlog
from prometheus_client import Histogram

from penstock_common.errors import PenstockError
from penstock_gateway.auth.authenticator import Authenticator
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.access_log import AccessLog
from penstock_gateway.edge.body import declared_length, read_body
from penstock_gateway.edge.body_budget import BodyBudget, Hold
from penstock_gateway.edge.call import Call, Handler, Receive, Reply, Scope, Send
from penstock_gateway.edge.content_encoding import decode_body, encode_body
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.health import Health
from penstock_gateway.edge.problem import INTERNAL, REQUESTS, drop_frames, problem_reply, request_id_of
from penstock_gateway.limits.admission import Admission, Lease, Usage

logger = structlog.get_logger()

SECONDS = Histogram(
    "penstock_gateway_request_seconds",
    "Time from the request's headers to its answer.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


#: An error, the request's id and its path to the answer.
Refuse = Callable[[PenstockError, bytes, str], Reply]


@dataclass(slots=True)
class Guard:
    """What the endpoints of one gateway share."""

    authenticator: Authenticator
    admission: Admission
    health: Health
    disconnects: DisconnectWatch
    bodies: BodyBudget
    timeout_seconds: float
    body_seconds: float
    max_body_bytes: int
    access_log: AccessLog
    #: How many times its own size a compressed body may become.
    max_decoded_ratio: int = 100


class Endpoint:
    """A protected route as an ASGI application.

    Args:
        route: its name in metrics and logs.
        handler: the route's own work.
        refuse: makes the answer that an error becomes.
        longest_seconds: that a request may take; the guard's ``timeout_seconds`` if it is None.
        handler_reads_body: whether the handler reads the body itself, with ``call.receive``, in pieces and within its own bounds.
    """

    def __init__(
        self,
        route: str,
        guard: Guard,
        handler: Handler,
        refuse: Refuse = problem_reply,
        longest_seconds: float | None = None,
        *,
        handler_reads_body: bool = False,
    ) -> None:
        self._route = route
        self._guard = guard
        self._handler = handler
        self._refuse = refuse
        self._longest_seconds = guard.timeout_seconds if longest_seconds is None else longest_seconds
        self._handler_reads_body = handler_reads_body
        self._seconds = SECONDS.labels(route)
        self._ok = REQUESTS.labels(route, "200")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(raw_headers)
        request_id = request_id_of(headers.get(b"x-request-id"))
        guard = self._guard
        code: str | None = None
        lease: Lease | None = None
        hold: Hold | None = None
        usage: Usage | None = None
        try:
            try:
                principal = guard.authenticator.authenticate(raw_headers)
                if not isinstance(principal, Principal):
                    principal = await principal
                declared = declared_length(headers)
                room = declared if declared <= guard.max_body_bytes else 0  # else it is not read
                lease = guard.admission.arrive(principal, room)
                seconds = _timeout(headers.get(b"x-request-timeout"), self._longest_seconds)
                deadline = started + seconds
                if seconds > guard.timeout_seconds:
                    scope["penstock.seconds"] = seconds
                hold = guard.bodies.hold(principal.id)
                body = b""
                if not self._handler_reads_body:
                    if room and not hold.try_take(room):
                        await hold.wait(room, min(deadline, started + guard.body_seconds) - time.monotonic())
                    body = await read_body(
                        receive,
                        guard.max_body_bytes,
                        deadline,
                        declared=declared,
                        body_deadline=started + guard.body_seconds,
                        room=room,
                        take=hold.take,
                        arrived="penstock.whole" in scope,
                    )
                    if encoding := headers.get(b"content-encoding"):
                        sent = len(body)
                        body = await decode_body(body, encoding, guard.max_body_bytes, guard.max_decoded_ratio)
                        hold.take(max(0, len(body) - sent))
                    if len(body) > room:
                        lease.grow(len(body))
                path, query = scope.get("path_params", {}), scope.get("query_string", b"")
                call = Call(path, headers, body, principal, deadline, receive, lease, query)
                del body  # the call's alone, which drops it once it is parsed
                reply = await self._handler(call)
            except PenstockError as err:
                code = err.code
                if code == "deadline-exceeded":
                    err.extra |= self._time_bound(headers)
                reply = self._refuse(err, request_id, scope["path"])
                drop_frames(err)
            except Exception as err:
                logger.exception("unhandled", route=self._route, request_id=request_id.decode())
                code = "internal"
                reply = self._refuse(INTERNAL, request_id, scope["path"])
                drop_frames(err)
            extra = lease.headers() if lease is not None else []
            if code is not None:
                # A refusal's own Retry-After replaces the one of the rate limit.
                own = {name for name, _ in reply.headers}
                extra = [(name, value) for name, value in extra if name not in own]
            if guard.health.draining:
                # The client's next request then opens a connection, to a gateway that stays.
                extra = [*extra, (b"connection", b"close")]
            usage = reply.usage
            if accepted := headers.get(b"accept-encoding"):
                extra = [*extra, *await _encode(reply, accepted)]
            await self._send(reply, [(b"x-request-id", request_id), *extra, *reply.headers], receive, send)
        except asyncio.CancelledError:
            # Nobody is left to answer: the client went away, or the server is being stopped for good.
            REQUESTS.labels(self._route, "499").inc()
            if not guard.disconnects.cancelled(asyncio.current_task()):
                raise
            return
        finally:
            if lease is not None:
                lease.settle(usage or Usage())
            if hold is not None:
                hold.release()
        status = reply.status
        if reply.failure is not None:  # after the first byte
            status, code = reply.failure.status, reply.failure.code
        elapsed = time.monotonic() - started
        self._seconds.observe(elapsed)
        if status == 200:
            self._ok.inc()
        else:
            REQUESTS.labels(self._route, str(status)).inc()
        guard.access_log.write(self._route, scope["path"], status, code, elapsed, request_id)

    def _time_bound(self, headers: Mapping[bytes, bytes]) -> dict[str, str | float]:
        """What bounded the time of a request that took too long: the caller, or a setting."""
        longest = self._longest_seconds
        if b"x-request-timeout" in headers and (asked := _timeout(headers[b"x-request-timeout"], longest)) < longest:
            return {"bound": "X-Request-Timeout", "limit": asked}
        name = "stream_seconds" if longest > self._guard.timeout_seconds else "timeout_seconds"
        return {"bound": name, "limit": longest}

    async def _send(self, reply: Reply, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        body = reply.body
        length = [(b"content-length", b"%d" % len(body))] if isinstance(body, bytes) else []
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [(b"content-type", reply.content_type), *length, *headers],
            }
        )
        if isinstance(body, bytes):
            await send({"type": "http.response.body", "body": body})
        else:
            await self._stream(body, receive, send)

    async def _stream(self, chunks: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
        """Send each chunk as it comes.

        An error after the first byte cannot become a problem document: it is raised, and the
        server closes the connection, so that the client sees an answer that is not whole.
        """
        async with contextlib.aclosing(chunks):
            with self._guard.disconnects.cancelling_on_disconnect(receive):
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _encode(reply: Reply, accepted: bytes) -> list[tuple[bytes, bytes]]:
    """Compress the reply's body if that is worth it; return the headers that say so."""
    if not isinstance(reply.body, bytes):
        return []
    reply.body, encoding = await encode_body(reply.body, accepted)
    return [(b"content-encoding", encoding), (b"vary", b"accept-encoding")] if encoding else []


def _timeout(given: bytes | None, longest: float) -> float:
    """Seconds that a request may take: what ``X-Request-Timeout`` asks for, at most ``longest``."""
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

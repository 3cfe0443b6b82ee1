"""One request on a connection and its answer: the ASGI side of the gateway's HTTP protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Message, Scope

if TYPE_CHECKING:
    from penstock_gateway.edge.http_protocol import FrontDoorProtocol

logger = structlog.get_logger()

#: Bytes of a body up to which a copy behind its head is cheaper than a list of two pieces.
_JOINED = 64 * 1024


class Cycle:
    """Gives an application the request and sends its answer.

    Args:
        keep_alive: whether the client wants to use the connection again.
        expects_continue: whether it waits for 100 Continue before it sends the body.
    """

    __slots__ = (
        "_chunked",
        "_expects_continue",
        "_failure",
        "_head",
        "_news",
        "_protocol",
        "_received",
        "_to_send",
        "_waiter",
        "body",
        "complete",
        "disconnected",
        "keep_alive",
        "more_body",
        "scope",
        "started",
    )

    def __init__(self, protocol: FrontDoorProtocol, scope: Scope, keep_alive: bool, expects_continue: bool) -> None:
        self._protocol = protocol
        self.scope = scope
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._waiter: asyncio.Future[None] | None = None
        self._news = False
        self._failure: PenstockError | None = None
        # The request.
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self._received = 0
        # The answer.
        self.started = False
        self.complete = False
        self._head = b""
        self._chunked = False
        self._to_send = 0

    async def run(self, app: Any) -> None:
        """Let ``app`` answer; an answer that it does not end closes the connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as err:
            logger.error("the application failed", path=self.scope["path"], exc_info=err)
            if isinstance(err, asyncio.CancelledError):
                if not self.disconnected:
                    self._protocol.transport.close()
                raise
        if self.complete or self.disconnected:
            return
        if self.started:
            self._protocol.transport.close()
        else:
            await self.send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
            await self.send({"type": "http.response.body"})

    # What the protocol reads.

    def add_body(self, piece: bytes) -> bool:
        """Keep a piece of the body; True if so much waits that no more should be read."""
        self._received += len(piece)
        held = self.body
        if not held:
            self.body = piece
        else:
            if not isinstance(held, bytearray):
                held = self.body = bytearray(held)
            held += piece
        self._wake()
        return len(self.body) > HIGH_WATER_LIMIT

    def end_body(self) -> None:
        self.more_body = False
        self.scope["penstock.whole"] = True
        self._wake()

    def fail(self, err: PenstockError) -> None:
        """Raise ``err`` in the application, which awaits a body whose rest cannot come."""
        self._failure = err
        self.keep_alive = False
        self._wake()

    def disconnect(self) -> None:
        self.disconnected = True
        self.body = b""
        self._wake()

    def _wake(self) -> None:
        self._news = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What the application calls.

    async def receive(self) -> Message:
        """The next piece of the body; after its end, the disconnect.

        Raises:
            PenstockError: 400 or 431 if the body cannot be parsed.
        """
        protocol = self._protocol
        if self._expects_continue and not protocol.transport.is_closing():
            protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
        if not (self._news or self.disconnected or self.complete):
            protocol.read_on()
            self._waiter = protocol.loop.create_future()
            await self._waiter
        if self.disconnected or self.complete:
            return {"type": "http.disconnect"}
        self._news = False
        if self._failure is not None:
            raise self._failure
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Write a part of the answer; once the client is gone, nothing."""
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        if not self.started:
            self._start(message["status"], message.get("headers", []))
        elif not self.complete:
            self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} was sent after the end of the answer")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        length: int | None = None
        closes = False
        parts = [STATUS_LINE[status]]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                closes = True
        if closes or (self.more_body and not self._rest_is_small()):
            self.keep_alive = False
        if not self.keep_alive and not closes:
            parts.append(b"connection: close\r\n")
        bodiless = self.scope["method"] == "HEAD" or status in (204, 304)
        self._chunked = length is None and not bodiless
        self._to_send = 0 if length is None or bodiless else length
        if self._chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        head = b"".join(parts)
        lines = len(headers) + 2 + (not self.keep_alive and not closes) + self._chunked
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise RuntimeError("a header field of the answer has a line break in it")
        if self._chunked:
            self._protocol.transport.write(head)  # the first chunk of a stream may be long in coming
        else:
            self._head = head

    def _write(self, body: bytes, more: bool) -> None:
        transport = self._protocol.transport
        if self._chunked:
            end = b"" if more else b"0\r\n\r\n"
            transport.write(b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end)
            self._protocol.since = self._protocol.loop.time()
        else:
            if self.scope["method"] == "HEAD":
                body = b""
            self._to_send -= len(body)
            if self._to_send < 0 or (self._to_send and not more):
                raise RuntimeError("the answer's body and its Content-Length differ")
            head, self._head = self._head, b""
            # Each write is a system call: a second one for the body takes a sixth of the gateway's time (7 of 48 us
            # for a small prediction, 32 connections).
            if len(body) <= _JOINED:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
        if not more:
            self.complete = True
            self.body = b""
            self._wake()
            self._protocol.answered(self)

    def _rest_is_small(self) -> bool:
        """Whether the rest of the body that an early answer leaves is worth reading to keep the connection."""
        if self._expects_continue:
            return False  # the client sends the body, or does not, and cannot say which
        for name, value in self.scope["headers"]:
            if name == b"content-length":
                return int(value) - self._received <= self._protocol.bounds.max_unread_bytes
        return False

"""The gateway's HTTP/1.1 protocol: uvicorn's, with bounds on all that a client may send, keep or delay.

It counts the bytes that it feeds to the parser, since the parser joins the pieces of an unfinished header
field and would hold, and copy over and over, whatever comes. A request over a bound gets a problem document
that names the setting; then the connection is closed.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import (
    Bounds,
    answer_late,
    headers_late,
    headers_too_large,
    too_many_fields,
    too_many_pipelined,
    url_too_long,
)
from penstock_gateway.edge.call import Scope
from penstock_gateway.edge.door import Door, address_of
from penstock_gateway.edge.http_cycle import Cycle
from penstock_gateway.edge.problem import REQUESTS, drop_frames, problem_reply, request_id_of

#: The phases of a connection, indices of ``patience``.
OPENED, HEAD, ANSWER, REST, IDLE, LINGERING, CLOSING = range(7)

#: An offer to change the protocol, which the gateway does not take up, and what belongs to it.
_OFFER = frozenset({b"upgrade", b"http2-settings"})

#: Bytes of a request's first line beside its URL: method, version, spaces, line break.
_REQUEST_LINE = 64


def patience(bounds: Bounds) -> tuple[float, ...]:
    """Seconds that each phase may last."""
    return (
        bounds.header_seconds,  # OPENED: nothing has come
        bounds.header_seconds,  # HEAD: a part of the first or next head has come
        bounds.answer_seconds,  # ANSWER: a request is being answered; counts again with each chunk of a stream
        bounds.linger_seconds,  # REST: answered; the rest of its body, which is small, is read
        bounds.keep_alive_seconds,  # IDLE: waits for the next request
        bounds.linger_seconds,  # LINGERING: all is said; what still comes is thrown away, so that the answer gets through
        bounds.answer_seconds,  # CLOSING: what was written leaves
    )


class FrontDoorProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        door: shared by all connections.
    """

    cycle: Cycle | None  # type: ignore[assignment]
    pipeline: list[Cycle]  # type: ignore[assignment]
    scope: Scope  # type: ignore[assignment]

    def __init__(
        self,
        door: Door,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = []  # of at most max_pipelined; an empty deque takes 760 bytes of each connection
        self.bounds = door.bounds
        self.phase = OPENED
        self.since = 0.0
        self._door = door
        self._address = b""
        #: The request that the application is at work on; ``cycle`` is the one that is being read.
        self._answering: Cycle | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_head = False
        self._has_offer = False
        self._trailers = 0
        #: Bytes of the present feed, and of all feeds since the parser last made something whole of them.
        self._size = 0
        self._unparsed = 0
        self._most_unparsed = door.bounds.max_url_bytes + door.bounds.max_header_bytes + _REQUEST_LINE
        #: Whether what comes is no longer parsed, and how much of it came.
        self._deaf = False
        self._unread = 0
        self._fault: PenstockError | None = None
        self._last_words = b""

    # Connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.flow = FlowControl(transport)
        self.client = get_remote_addr(transport)
        self.server = get_local_addr(transport)
        self.scheme = "http"
        self.since = self.loop.time()
        self._address = address_of(self.client)
        refusal = self._door.admit(self, self._address)
        if refusal is None:
            self.connections.add(self)
        else:
            self._door.refused(refusal.extra["bound"])
            transport.write(_last_words(refusal))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._door.leave(self, self._address)
        for cycle in (self._answering, self.cycle, *self.pipeline):
            if cycle is not None and not cycle.complete:
                cycle.disconnect()
        self.pipeline.clear()
        self.cycle = self._answering = self._task = None
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]

    def shutdown(self) -> None:
        """The server stops: let the request under way be the last one."""
        if self._answering is None:
            self._close()
        else:
            self.pipeline.clear()
            self._answering.keep_alive = False

    def out_of_time(self) -> None:
        """The present phase has lasted too long."""
        if self.phase == HEAD:
            self._refuse(headers_late(self.bounds))
        elif self.phase == ANSWER:
            self._answer_late()
        elif self.phase in (OPENED, REST, LINGERING):
            if self.phase == OPENED:
                self._door.refused("header_seconds")
            self._close()
        elif self.phase == IDLE:
            self._close()
        else:
            self.transport.abort()

    def _answer_late(self) -> None:
        """The application does not answer, or the client does not read."""
        cycle, task = self._answering, self._task
        assert cycle is not None and task is not None
        self._door.refused("answer_seconds")
        cycle.disconnect()
        task.cancel()
        if cycle.started:
            self.transport.abort()
        else:
            self.pipeline.clear()
            self._answering = self.cycle = None
            self._refuse(answer_late(self.bounds))

    # Reading.

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._throw_away(len(data))
            return
        self._size = len(data)
        self._unparsed += self._size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._read_on_without_offer(data[offer.args[0] :])
        except httptools.HttpParserError as err:
            self._refuse(self._fault or _bad_request(err))
        else:
            if self._unparsed > self._most_unparsed:
                self._refuse(headers_too_large(self.bounds))
            elif self._in_head and self.phase in (OPENED, IDLE):
                if self.phase == IDLE:
                    self.since = self.loop.time()
                self.phase = HEAD

    def _read_on_without_offer(self, rest: bytes) -> None:
        """Read a request again that offers another protocol, without the offer (RFC 9110, section 7.8).

        The parser stops after such a head, since it takes what follows for the other protocol. Java's
        HTTP client offers h2c with each first request, and sends the body at once.
        """
        self._has_offer = False
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.scope["http_version"].encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _OFFER)
            if name not in _OFFER:
                head += (name, b": ", value, b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def on_message_begin(self) -> None:
        self._in_head = True
        self._unparsed = 0
        self._trailers = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.bounds.max_url_bytes:
            self._fail(url_too_long(self.bounds))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer; none has a meaning here
            self._trailers += 1
            if self._trailers > self.bounds.max_header_fields:
                self._fail(too_many_fields(self.bounds))
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > self.bounds.max_header_fields:
            self._fail(too_many_fields(self.bounds))

    def on_headers_complete(self) -> None:
        parser = self.parser
        # Only a head that came in several pieces, or in a large one, can be too large.
        if self._unparsed or self._size > self.bounds.max_header_bytes:
            size = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.bounds.max_header_bytes:
                self._fail(headers_too_large(self.bounds))
        self._in_head = False
        self._unparsed = 0
        method = parser.get_method()
        version = parser.get_http_version()
        if parser.should_upgrade():
            if method == b"CONNECT":
                self._fail(PenstockError(405, "bad-method", "The gateway is not a proxy; ask it with GET or POST."))
            self._has_offer = True
            self.scope = {"http_version": version}
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": method.decode("ascii"),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        keep_alive = version != "1.0" and parser.should_keep_alive()
        self.cycle = Cycle(self, self.scope, keep_alive, self.expect_100_continue)
        if self._answering is None:
            self._answer(self.cycle)
        elif len(self.pipeline) >= self.bounds.max_pipelined:
            self.cycle = None
            self._fail(too_many_pipelined(self.bounds))
        else:
            self.flow.pause_reading()
            self.pipeline.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        cycle = self.cycle
        assert cycle is not None
        if cycle.complete:
            self._throw_away(len(body))
        elif cycle.add_body(body):
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._unparsed = 0
        cycle = self.cycle
        if self._has_offer or cycle is None:
            return
        cycle.end_body()
        if cycle.complete:
            self._rest()

    def read_on(self) -> None:
        """The application awaits more of its request, or the client's disconnect."""
        if not self.pipeline and self._unread <= self.bounds.max_unread_bytes:
            self.flow.resume_reading()

    def _throw_away(self, size: int) -> None:
        self._unread += size
        if self._unread <= self.bounds.max_unread_bytes:
            return
        if self._answering is not None:
            self.flow.pause_reading()
        elif self.phase != CLOSING:
            self._door.refused("max_unread_bytes")
            self._close()

    # Answering.

    def _answer(self, cycle: Cycle) -> None:
        self._answering = cycle
        self.phase = ANSWER
        self.since = self.loop.time()
        self._task = task = self.loop.create_task(cycle.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def answered(self, cycle: Cycle) -> None:
        """The last byte of an answer was written."""
        self.server_state.total_requests += 1
        self._answering = self._task = None
        if self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self._leave(linger=cycle.more_body)
        elif self.pipeline:
            self._answer(self.pipeline.pop(0))
        elif self._last_words:
            self.transport.write(self._last_words)
            self._leave(linger=True)
        else:
            self.flow.resume_reading()
            if cycle.more_body:
                self._unread = 0
                self.phase = REST
                self.since = self.loop.time()
            else:
                self._rest()

    def _rest(self) -> None:
        """Nothing is under way; an idle connection keeps nothing of its last request."""
        self.cycle = None
        self.since = self.loop.time()
        if self._in_head:
            self.phase = HEAD
        else:
            self.phase = IDLE
            self.scope = self.headers = None  # type: ignore[assignment]

    def _fail(self, err: PenstockError) -> None:
        """End the parser's present feed; ``data_received`` then refuses with ``err``."""
        self._fault = err
        raise err

    def _refuse(self, err: PenstockError) -> None:
        """Stop reading, and say why once what came before is answered."""
        REQUESTS.labels("none", str(err.status)).inc()
        self._door.refused(err.extra.get("bound", err.code))
        drop_frames(err)
        self._fault = None
        self._deaf = True
        self._unread = 0
        cycle = self.cycle
        if cycle is not None and cycle.more_body:
            if cycle.complete:
                self._close()
            else:
                cycle.fail(err)
        elif self._answering is not None:
            self._last_words = _last_words(err)
        else:
            self.transport.write(_last_words(err))
            self._leave(linger=True)

    def _leave(self, *, linger: bool) -> None:
        """Close the connection once what was written has left.

        A socket that is closed with unread input resets the connection, and many clients then lose the
        answer; so the rest of an unfinished request is awaited for a while and thrown away.
        """
        self.pipeline.clear()
        if not linger:
            self._close()
            return
        self._deaf = True
        self._unread = 0
        self.phase = LINGERING
        self.since = self.loop.time()
        self.transport.write_eof()
        self.flow.resume_reading()

    def _close(self) -> None:
        self._deaf = True
        self.phase = CLOSING
        self.since = self.loop.time()
        self.transport.close()


def _bad_request(err: httptools.HttpParserError) -> PenstockError:
    return PenstockError(400, "bad-request", f"The request is not valid HTTP/1.1: {str(err)[:100] or 'bad URL'}.")


def _last_words(err: PenstockError) -> bytes:
    """A whole answer without an application; the connection is closed after it."""
    request_id = request_id_of(None)
    reply = problem_reply(err, request_id)
    assert isinstance(reply.body, bytes)
    fields = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        (b"connection", b"close"),
        (b"x-request-id", request_id),
        *reply.headers,
    ]
    lines = [name + b": " + value + b"\r\n" for name, value in fields]
    return b"".join([STATUS_LINE[err.status], *lines, b"\r\n", reply.body])

"""The gateway's HTTP/1.1 protocol: bounds on all that a client may send, keep or delay.

A request over a bound gets a problem document that names the setting; then the connection is closed.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import answer_late, headers_late, too_many_pipelined
from penstock_gateway.edge.connection_phases import ANSWER, CLOSING, HEAD, IDLE, LINGERING, OPENED, REST
from penstock_gateway.edge.door import Door, address_of
from penstock_gateway.edge.http_cycle import Cycle
from penstock_gateway.edge.http_reader import BoundedReader
from penstock_gateway.edge.problem import closing_answer, drop_frames


class FrontDoorProtocol(BoundedReader):
    """One connection.

    Args:
        door: shared by all connections.
    """

    cycle: Cycle | None  # type: ignore[assignment]
    pipeline: list[Cycle]  # type: ignore[assignment]

    def __init__(
        self,
        door: Door,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(door.bounds, config, server_state, app_state, _loop)
        self.pipeline = []  # of at most max_pipelined; an empty deque takes 760 bytes of each connection
        self.phase = OPENED
        self.since = 0.0
        self._door = door
        self._address = b""
        #: The request that the application is at work on; ``cycle`` is the one that is being read.
        self._answering: Cycle | None = None
        self._task: asyncio.Task[None] | None = None
        #: True once input is thrown away instead of parsed; then the bytes that were.
        self._deaf = False
        self._unread = 0
        self._last_words = b""

    # Connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.open(transport, get_remote_addr(transport), "http")

    def open(
        self, transport: asyncio.Transport, client: tuple[str, int] | None, scheme: Literal["http", "https"]
    ) -> None:
        """Begin to serve ``client``, who may have reached this connection through a front."""
        self.transport = transport
        self.flow = FlowControl(transport)
        self.client = client
        self.server = get_local_addr(transport)
        self.scheme = scheme
        self.since = self.loop.time()
        self._address = address_of(self.client)
        refusal = self._door.admit(self, self._address)
        if refusal is None:
            self.connections.add(self)
        else:
            self._door.refused(refusal.extra["bound"])
            transport.write(closing_answer(refusal))
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
            self.refuse(headers_late(self.bounds))
        elif self.phase == ANSWER:
            self._answer_late()
        elif self.phase == CLOSING:
            self.transport.abort()
        else:
            if self.phase == OPENED:
                self._door.refused("header_seconds")
            self._close()

    def _answer_late(self) -> None:
        """The application does not answer, or the client does not read."""
        cycle, task = self._answering, self._task
        assert cycle is not None and task is not None
        more = cycle.scope.pop("penstock.seconds", 0.0)
        if more and not cycle.started:  # the time that the route may take comes first
            self.since += more
            return
        cycle.disconnect()
        task.cancel()
        if cycle.started:
            self._door.refused("answer_seconds")
            self.transport.abort()
        else:
            self.pipeline.clear()
            self._answering = self.cycle = None
            self.refuse(answer_late(self.bounds))

    # Reading.

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._throw_away(len(data))
            return
        self.feed(data)
        if self._in_head and self.phase in (OPENED, IDLE):
            if self.phase == IDLE:
                self.since = self.loop.time()
            self.phase = HEAD

    def begin_request(self, keep_alive: bool) -> None:
        self.cycle = Cycle(self, self.scope, keep_alive, self.expect_100_continue)
        if self._answering is None:
            self._answer(self.cycle)
        elif len(self.pipeline) >= self.bounds.max_pipelined:
            self.cycle = None
            self.fail(too_many_pipelined(self.bounds))
        else:
            self.flow.pause_reading()
            self.pipeline.append(self.cycle)

    def add_body(self, piece: bytes) -> None:
        cycle = self.cycle
        assert cycle is not None
        if cycle.complete:
            self._throw_away(len(piece))
        elif cycle.add_body(piece):
            self.flow.pause_reading()

    def end_request(self) -> None:
        cycle = self.cycle
        assert cycle is not None
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

    def refuse(self, err: PenstockError) -> None:
        """Stop reading, and say why once what came before is answered."""
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
            self._last_words = closing_answer(err)
        else:
            self.transport.write(closing_answer(err))
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

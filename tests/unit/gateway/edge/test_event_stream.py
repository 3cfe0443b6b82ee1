"""Server-sent events: as they come, kept alive, and what becomes of an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Reply
from penstock_gateway.edge.event_stream import event_stream_reply

LONG = 60.0


class Source:
    """Gives the documents that the test puts in; an exception is raised."""

    def __init__(self) -> None:
        self.put: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.closed = False

    async def documents(self) -> AsyncGenerator[bytes, None]:
        try:
            while (given := await self.put.get()) is not None:
                if isinstance(given, Exception):
                    raise given
                yield given
        finally:
            self.closed = True


async def begun(source: Source, keep_alive: float = LONG) -> tuple[Reply, AsyncGenerator[bytes, None]]:
    reply = await event_stream_reply(source.documents(), keep_alive)
    assert not isinstance(reply.body, bytes)
    return reply, reply.body


async def test_each_document_is_an_event_as_soon_as_it_is_there() -> None:
    """Nothing waits for the next; no proxy is to keep it either."""
    source = Source()
    source.put.put_nowait(b"1")
    reply, events = await begun(source)
    assert reply.content_type == b"text/event-stream"
    assert (b"x-accel-buffering", b"no") in reply.headers
    assert await anext(events) == b"data: 1\n\n"
    source.put.put_nowait(b"2")
    assert await anext(events) == b"data: 2\n\n"
    source.put.put_nowait(None)
    assert [event async for event in events] == []
    assert source.closed and reply.failure is None


async def test_comments_while_nothing_comes() -> None:
    """The answer begins with one if the first document is late; the document that is awaited is not lost."""
    source = Source()
    _, events = await begun(source, 0.01)
    assert [await anext(events), await anext(events)] == [b": keep-alive\n\n"] * 2
    source.put.put_nowait(b"1")
    while (event := await anext(events)) == b": keep-alive\n\n":
        pass
    assert event == b"data: 1\n\n"
    await events.aclose()
    assert source.closed


async def test_an_error_before_the_first_event_is_raised() -> None:
    """It becomes an ordinary refusal."""
    source = Source()
    source.put.put_nowait(PenstockError(503, "queue-full", "Try again."))
    with pytest.raises(PenstockError, match="Try again"):
        await begun(source)
    assert source.closed


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PenstockError(504, "deadline-exceeded", "Late."), 504, "deadline-exceeded"),
        (ValueError("secret"), 500, "internal"),
    ],
)
async def test_an_error_after_the_first_event_is_the_last_one(error: Exception, status: int, code: str) -> None:
    """With the problem document, and noted for the log; an unexpected one says nothing of itself."""
    source = Source()
    for given in (b"1", error):
        source.put.put_nowait(given)
    reply, events = await begun(source)
    first, last = [event async for event in events]
    kind, _, data = last.partition(b"\ndata: ")
    assert (first, kind) == (b"data: 1\n\n", b"event: error")
    assert (orjson.loads(data)["status"], orjson.loads(data)["code"]) == (status, code)
    assert b"secret" not in last
    assert reply.failure is not None and reply.failure.code == code
    assert source.closed


@pytest.mark.parametrize("read", [0, 1])
async def test_a_client_that_leaves_closes_the_source(read: int) -> None:
    """Before the first event, while the source works on it; and between two."""
    source = Source()
    if read:
        source.put.put_nowait(b"1")
        _, events = await begun(source)
        await anext(events)
        waiting = asyncio.create_task(anext(events))
    else:
        waiting = asyncio.create_task(begun(source))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert source.closed

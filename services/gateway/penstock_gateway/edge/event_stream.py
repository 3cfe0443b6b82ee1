"""An answer as a stream of server-sent events (HTML Living Standard, section 9.2).

Each event is a line ``data:`` with a JSON document, after its name if it has one. While nothing comes, comments keep
the connection alive. An error before the first byte is an ordinary refusal; after it, an event ``error`` with the
problem document is the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

import orjson
import structlog

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Reply
from penstock_gateway.edge.problem import INTERNAL, drop_frames

logger = structlog.get_logger()

#: The last document of a stream that is whole.
DONE = b"[DONE]"

_KEEP_ALIVE = b": keep-alive\n\n"
#: Proxies that honour them do not wait for more of the answer before they pass on what there is.
_HEADERS = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class NamedDocument(NamedTuple):
    """The document of an event that has a name."""

    name: bytes
    document: bytes


def _problem(err: PenstockError) -> dict[str, Any]:
    return err.problem() | {"error": err.detail}


async def event_stream_reply(
    documents: AsyncGenerator[bytes | NamedDocument, None],
    keep_alive_seconds: float,
    describe: Callable[[PenstockError], dict[str, Any]] = _problem,
) -> Reply:
    """Begin the answer once the first document is there, or the first comment is due.

    Args:
        documents: each on one line; closed with the reply's body.
        keep_alive_seconds: without a document, after which a comment is sent.
        describe: makes the document of an error after the first byte.

    Raises:
        PenstockError: what the first document raised.
    """
    reply = Reply(b"", b"text/event-stream", headers=[*_HEADERS])
    events = _events(documents, keep_alive_seconds)
    try:
        reply.body = _watched(reply, await anext(events, b""), events, describe)
    except BaseException:
        await events.aclose()
        raise
    return reply


async def _events(
    documents: AsyncGenerator[bytes | NamedDocument, None], keep_alive_seconds: float
) -> AsyncGenerator[bytes, None]:
    coming = asyncio.ensure_future(anext(documents, None))
    try:
        while True:
            await asyncio.wait([coming], timeout=keep_alive_seconds)
            if not coming.done():
                yield _KEEP_ALIVE
                continue
            document = coming.result()
            if document is None:
                return
            yield _event(document)
            coming = asyncio.ensure_future(anext(documents, None))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await documents.aclose()


def _event(document: bytes | NamedDocument) -> bytes:
    return b"event: %b\ndata: %b\n\n" % document if isinstance(document, NamedDocument) else b"data: %b\n\n" % document


async def _watched(
    reply: Reply,
    first: bytes,
    events: AsyncGenerator[bytes, None],
    describe: Callable[[PenstockError], dict[str, Any]],
) -> AsyncGenerator[bytes, None]:
    """Yield the events; an error becomes the last one, and is noted in the reply."""
    try:
        yield first
        async for event in events:
            yield event
    except PenstockError as err:
        reply.failure = err
        drop_frames(err)
    except Exception:
        logger.exception("a stream failed")
        reply.failure = INTERNAL
    finally:
        await events.aclose()
    if reply.failure is not None:
        yield b"event: error\ndata: %b\n\n" % orjson.dumps(describe(reply.failure))

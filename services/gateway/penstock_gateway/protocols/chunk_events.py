"""A stream of a model as server-sent events, one for each chunk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from penstock_gateway.dataplane.dataplane import DataPlane, StreamedAnswer
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.event_stream import event_stream_reply
from penstock_gateway.signature.rows import RawOutputs


async def chunk_events(
    dataplane: DataPlane,
    call: Call,
    answer: StreamedAnswer,
    document: Callable[[RawOutputs], bytes],
    keep_alive_seconds: float,
    last: Sequence[bytes] = (),
) -> Reply:
    """Begin the reply to a call; a client that leaves before the first chunk ends the stream.

    Args:
        document: words a chunk, on one line.
        keep_alive_seconds: without a chunk, after which a comment is sent.
        last: documents after the last chunk.

    Raises:
        PenstockError: what the first chunk raised.
    """

    async def documents() -> AsyncGenerator[bytes, None]:
        async with aclosing(answer.chunks) as chunks:
            async for outputs in chunks:
                yield document(outputs)
        for end in last:
            yield end

    with dataplane.cancelling_on_disconnect(call):
        reply = await event_stream_reply(documents(), keep_alive_seconds)
    return answer.begun(reply)

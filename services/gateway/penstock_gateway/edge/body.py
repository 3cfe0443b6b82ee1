"""A request's body, bounded in bytes and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Receive


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int, deadline: float) -> bytes:
    """The whole body.

    Args:
        limit: bytes.
        deadline: on ``time.monotonic``'s clock.

    Raises:
        PenstockError: 413 ``body-too-large``, 499 ``client-gone``, 504 ``deadline-exceeded``.
    """
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

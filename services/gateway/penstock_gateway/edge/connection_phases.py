"""The phases of a connection, and how long each may last."""

from __future__ import annotations

from penstock_gateway.edge.bounds import Bounds

#: Indices of ``patience``.
OPENED, HEAD, ANSWER, REST, IDLE, LINGERING, CLOSING = range(7)


def patience(bounds: Bounds) -> tuple[float, ...]:
    """Seconds that each phase may last."""
    return (
        bounds.header_seconds,  # OPENED: nothing has come
        bounds.header_seconds,  # HEAD: a part of the first or next head has come
        bounds.answer_seconds,  # ANSWER: a request is being answered, beyond what it may take; counts again with each chunk
        bounds.linger_seconds,  # REST: answered; the rest of its body, which is small, is read
        bounds.keep_alive_seconds,  # IDLE: waits for the next request
        bounds.linger_seconds,  # LINGERING: all is said; what still comes is thrown away, so that the answer gets through
        bounds.answer_seconds,  # CLOSING: what was written leaves
    )

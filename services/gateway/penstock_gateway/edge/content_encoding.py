"""Compressed bodies: those of requests are decoded within bounds, those of answers made if asked for and worth it.

``gzip`` is RFC 1952, ``deflate`` the zlib format of RFC 1950, as RFC 9110, section 8.4.1 has them.
"""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import over_bound

#: A body may always grow to this size, and beyond it to a multiple of its own.
FREE_BYTES = 1024 * 1024

#: Answers below this size take as many packets compressed as not.
_MIN_ANSWER_BYTES = 1400
#: Larger bodies are packed and unpacked outside the event loop: zlib leaves it to the others meanwhile.
_OFF_LOOP_BYTES = 64 * 1024
#: Few, since what a thread has decoded counts as a body only once it is whole.
_THREADS = ThreadPoolExecutor(2, "content-encoding")
_SAMPLE_BYTES = 16 * 1024
_WORTH = 0.8  # of its size, that a sample may keep
_LEVEL = 1
_WINDOW_BITS = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_NONE = (b"", b"identity")


async def decode_body(body: bytes, encoding: bytes, limit: int, max_ratio: int) -> bytes:
    """A request's body without its content encoding.

    Args:
        encoding: the header ``Content-Encoding``, empty if there is none.
        limit: bytes of the decoded body.
        max_ratio: decoded bytes for each encoded one, beyond ``FREE_BYTES``.

    Raises:
        PenstockError: 400 ``bad-encoding``, 413 ``body-too-large``, 415 ``unsupported-encoding``.
    """
    name = encoding.strip().lower()
    if name in _NONE:
        return body
    if name not in _WINDOW_BITS:
        raise PenstockError(
            415,
            "unsupported-encoding",
            f"Content-Encoding {encoding[:40].decode('latin-1')!r} is not understood; send gzip, deflate or neither.",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    most = min(limit, max(FREE_BYTES, max_ratio * len(body)))
    if len(body) < _OFF_LOOP_BYTES and most <= FREE_BYTES:
        decoded, ended = _decompress(body, name, most)
    else:
        decoded, ended = await asyncio.get_running_loop().run_in_executor(_THREADS, _decompress, body, name, most)
    if len(decoded) > most:
        text = f"The body is larger than {most} bytes once decoded; send fewer rows, or uncompressed."
        bound, value = ("max_body_bytes", limit) if most == limit else ("max_decoded_ratio", max_ratio)
        raise over_bound(413, "body-too-large", bound, value, text)
    if not ended:
        text = f"The body is not a whole {name.decode()} stream; check how it was compressed."
        raise PenstockError(400, "bad-encoding", text)
    return decoded


async def encode_body(body: bytes, accept_encoding: bytes) -> tuple[bytes, bytes]:
    """An answer's body in an encoding that the client accepts, if that makes it a good deal smaller.

    Args:
        accept_encoding: the header ``Accept-Encoding``, empty if there is none.

    Returns:
        The body, and the value for ``Content-Encoding``: empty if it is as it was.
    """
    if len(body) < _MIN_ANSWER_BYTES or not accept_encoding:
        return body, b""
    name = _accepted(accept_encoding)
    if not name:
        return body, b""
    sample = body[:_SAMPLE_BYTES]
    if len(_compress(sample, name)) > _WORTH * len(sample):
        return body, b""
    if len(body) < _OFF_LOOP_BYTES:
        return _compress(body, name), name
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _compress, body, name), name


def _decompress(body: bytes, name: bytes, most: int) -> tuple[bytes, bool]:
    """At most ``most + 1`` decoded bytes, and whether they are all of one intact stream."""
    stream = zlib.decompressobj(_WINDOW_BITS[name])
    try:
        decoded = stream.decompress(body, most + 1)
    except zlib.error:
        return b"", False
    return decoded, stream.eof and not stream.unused_data


def _compress(body: bytes, name: bytes) -> bytes:
    stream = zlib.compressobj(_LEVEL, wbits=_WINDOW_BITS[name])
    return stream.compress(body) + stream.flush()


def _accepted(accept_encoding: bytes) -> bytes:
    """The better liked of gzip and deflate, gzip if both are liked the same; empty if neither is accepted."""
    weights: dict[bytes, float] = {}
    for part in accept_encoding[:1000].lower().split(b","):
        name, _, parameters = part.partition(b";")
        weights[name.strip()] = _weight(parameters)
    best = max((b"gzip", b"deflate"), key=lambda name: weights.get(name, weights.get(b"*", 0.0)))
    return best if weights.get(best, weights.get(b"*", 0.0)) > 0 else b""


def _weight(parameters: bytes) -> float:
    """The ``q`` of an ``Accept-Encoding``; 1 if it has none, 0 if it is not a number."""
    name, _, value = parameters.partition(b"=")
    if name.strip() != b"q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0

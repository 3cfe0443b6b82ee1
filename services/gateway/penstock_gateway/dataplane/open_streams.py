"""The streams that are open in this gateway: how many there may be, and what is measured of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client

from penstock_common.errors import PenstockError

OPEN = prometheus_client.Gauge("penstock_gateway_streams_open", "Streams that are open.")
CHUNKS = prometheus_client.Counter("penstock_gateway_stream_chunks_total", "Chunks of streams, sent to clients.")
FIRST_CHUNK_SECONDS = prometheus_client.Histogram(
    "penstock_gateway_first_chunk_seconds",
    "Time from an admitted request to the first chunk of its stream.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


class OpenStream:
    """Measures one stream."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._chunks = 0

    def count_chunk(self) -> None:
        if not self._chunks:
            FIRST_CHUNK_SECONDS.observe(time.perf_counter() - self._since)
        self._chunks += 1
        CHUNKS.inc()


class OpenStreams:
    """Bounds the streams of a gateway, each of which holds a connection and a place in Envoy for minutes.

    Args:
        most: that may be open.
        most_of_one: of one principal.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._open: Counter[str] = Counter()

    @contextmanager
    def opened(self, principal: str) -> Iterator[OpenStream]:
        """Count a stream as open for the time of the block.

        Raises:
            PenstockError: 503 ``overloaded`` or 429 ``too-many-streams``.
        """
        if self._open.total() >= self._most:
            detail = f"{self._most} streams are open, which is the gateway's max_streams; try again shortly."
            extra = {"bound": "max_streams", "limit": self._most}
            raise PenstockError(503, "overloaded", detail, headers={"Retry-After": "1"}, extra=extra)
        if self._open[principal] >= self._most_of_one:
            detail = f"{self._most_of_one} streams of this key are open, which is the gateway's max_streams_per_key."
            extra = {"bound": "max_streams_per_key", "limit": self._most_of_one}
            detail += " End one, or wait until one has ended."
            raise PenstockError(429, "too-many-streams", detail, headers={"Retry-After": "1"}, extra=extra)
        self._open[principal] += 1
        OPEN.inc()
        try:
            yield OpenStream()
        finally:
            OPEN.dec()
            self._open[principal] -= 1
            if not self._open[principal]:
                del self._open[principal]

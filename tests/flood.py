"""One caller who floods a model, and a small one beside it: what the flood costs the other."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized

import httpx

from tests.slow_model import MAX_BATCH_ROWS, NAME, ROW

_PATH = f"/v1/models/{NAME}/predict"


@dataclass
class Small:
    """What a caller saw that sends one row at a time.

    ``seconds`` of each request; ``overtaken`` by so many of the flood's answers between its sending and its answer.
    """

    seconds: list[float] = field(default_factory=list)
    overtaken: list[int] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """Seconds."""
        return statistics.quantiles(self.seconds, n=20)[-1]


class Flood:
    """A process that keeps ``requests`` requests under way; each has ``rows``, a whole batch if it does not say."""

    def __init__(self, url: str, key: str, requests: int, rows: int = MAX_BATCH_ROWS) -> None:
        context = multiprocessing.get_context("spawn")
        self._answered = context.Value("q", 0)
        self._refused = context.Value("q", 0)
        self._requests = requests
        arguments = (url, key, requests, rows, self._answered, self._refused)
        self._process = context.Process(target=_flood, args=arguments, daemon=True)

    @property
    def answered(self) -> int:
        return int(self._answered.value)

    @property
    def refused(self) -> int:
        """How many answers were no predictions."""
        return int(self._refused.value)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From when as many requests are answered as are under way until the block ends."""
        self._process.start()
        try:
            while self.answered < self._requests:
                assert self._process.is_alive()
                await asyncio.sleep(0.02)
            yield
        finally:
            self._process.terminate()
            await asyncio.to_thread(self._process.join)


def _flood(
    url: str, key: str, requests: int, rows: int, answered: Synchronized[int], refused: Synchronized[int]
) -> None:
    async def send(client: httpx.AsyncClient) -> None:
        while True:
            answer = await client.post(_PATH, json=[ROW] * rows)
            answered.value += 1
            refused.value += answer.status_code != 200

    async def run() -> None:
        async with connected(url, key) as client:
            await asyncio.gather(*[send(client) for _ in range(requests)])

    asyncio.run(run())


async def ask_alone(url: str, key: str, requests: int, flood: Flood | None = None) -> Small:
    """Send ``requests`` requests of one row, each after the answer to the last."""
    saw = Small()
    async with connected(url, key) as small:
        for number in range(requests + 1):
            before, started = flood.answered if flood else 0, time.monotonic()
            answer = await small.post(_PATH, json=ROW)
            assert answer.status_code == 200, answer.text
            if number:  # the first one opens the connection
                saw.seconds.append(time.monotonic() - started)
                saw.overtaken.append((flood.answered if flood else 0) - before)
    return saw


def connected(url: str, key: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, headers={"API-Key": key}, limits=limits, timeout=60)

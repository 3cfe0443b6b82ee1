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
    """A process that keeps ``requests`` requests under way; each has ``rows``, a whole batch if it does not say.

    With a ``rate``, it sends so many requests a second instead, and ``requests`` before it counts as running.
    """

    def __init__(
        self, url: str, key: str, requests: int, rows: int = MAX_BATCH_ROWS, rate: float | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._answered = context.Value("q", 0)
        self._refused = context.Value("q", 0)
        self._requests = requests
        arguments = (url, key, requests, rows, rate, self._answered, self._refused)
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
    url: str,
    key: str,
    requests: int,
    rows: int,
    rate: float | None,
    answered: Synchronized[int],
    refused: Synchronized[int],
) -> None:
    body = [ROW] * rows

    async def send(client: httpx.AsyncClient) -> None:
        answer = await client.post(_PATH, json=body)
        answered.value += 1
        refused.value += answer.status_code != 200

    async def send_on(client: httpx.AsyncClient) -> None:
        while True:
            await send(client)

    async def run() -> None:
        async with connected(url, key) as client, asyncio.TaskGroup() as tasks:
            if rate is None:
                for _ in range(requests):
                    tasks.create_task(send_on(client))
                return
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                due += 1 / rate
                await asyncio.sleep(due - loop.time())
                tasks.create_task(send(client))

    asyncio.run(run())


async def ask_alone(url: str, key: str, requests: int, flood: Flood | None = None, pause: float = 0.0) -> Small:
    """Send ``requests`` requests of one row, each ``pause`` seconds after the answer to the last."""
    saw = Small()
    async with connected(url, key) as small:
        for number in range(requests + 1):
            await asyncio.sleep(pause)
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

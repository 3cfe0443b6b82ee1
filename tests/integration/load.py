"""Requests that keep coming, and what the workers make of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import psutil

from tests.installation import Installation

TEXTS = [f"message {i}: free entry, see you at {i} o'clock, claim {i * 37} prizes" for i in range(60)]


@asynccontextmanager
async def async_client(installation: Installation, key: str, timeout: float = 30) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(
        base_url=installation.url, headers={"API-Key": key}, limits=limits, timeout=timeout
    ) as client:
        yield client


class Load:
    """Keeps some requests under way; counts what came back."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._stop = asyncio.Event()
        self.statuses: Counter[int | str] = Counter()
        self.versions: Counter[str] = Counter()

    async def _user(self) -> None:
        while not self._stop.is_set():
            try:
                answer = await self._client.post("/v1/models/spam/predict", json={"text": random.choice(TEXTS)})
            except httpx.HTTPError as err:
                self.statuses[repr(err)] += 1
                continue
            self.statuses[answer.status_code if answer.status_code == 200 else answer.text] += 1
            if answer.status_code == 200:
                assert answer.json()["version"] == answer.headers["x-model-version"]
                self.versions[answer.json()["version"]] += 1

    @asynccontextmanager
    async def running(self, users: int = 16) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._user()) for _ in range(users)]
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)

    async def answered(self, more: int) -> None:
        """Wait until that many more requests were answered."""
        goal = self.statuses.total() + more
        await until(lambda: self.statuses.total() >= goal)


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.05)


def worker(installation: Installation, index: int) -> psutil.Process:
    """The process of one inference worker."""
    return part(installation, f"worker-{index + 1}")


def part(installation: Installation, name: str) -> psutil.Process:
    """The process of a part that runs."""
    [pid] = [row["pid"] for row in installation.status() if row["part"] == name]
    assert isinstance(pid, int)
    return psutil.Process(pid)


async def served_by(installation: Installation, index: int) -> float:
    """Requests that a worker has answered with OK since it started."""
    port = int(installation.environment["PENSTOCK_WORKER_METRICS_PORT"]) + index
    async with httpx.AsyncClient() as client:
        try:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        except httpx.HTTPError:
            return 0
    lines = [
        line
        for line in text.splitlines()
        if line.startswith("penstock_inference_requests_total{") and 'code="OK"' in line
    ]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def healthy(installation: Installation) -> int:
    """Workers that pass Envoy's checks."""
    transport = httpx.AsyncHTTPTransport(uds=str(installation.socket("envoy-admin")))
    async with httpx.AsyncClient(transport=transport) as client:
        stats = await client.get("http://envoy/stats", params={"filter": r"^cluster\.inference\.membership_healthy$"})
    return int(stats.text.rpartition(":")[2])


async def equals(awaitable: Awaitable[int], value: int) -> bool:
    return await awaitable == value


async def serves_more_than(installation: Installation, index: int, count: float) -> bool:
    return await served_by(installation, index) > count

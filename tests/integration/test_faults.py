"""When a part stands still or dies under load. The clients' own timeout is the bound on every answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.installation import Installation
from tests.integration.load import Load, async_client, equals, healthy, part, served_by, serves_more_than, until, worker

pytestmark = pytest.mark.integration

#: Seconds. Envoy takes 2.7 at most to give up a silent worker; the rest is for a busy machine.
PATIENCE = 5.0


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The process stands still, its connections open and its port listening."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def test_a_worker_that_stands_still_slows_nobody_down(installation: Installation, unlimited_key: str) -> None:
    """SIGSTOP of one of two workers: what it had is answered by the other in time, and later it takes its share again."""
    async with async_client(installation, unlimited_key, timeout=PATIENCE) as client:
        load = Load(client)
        async with load.running():
            await load.answered(100)
            with stopped(worker(installation, 1)):
                await until(lambda: equals(healthy(installation), 1))
                await load.answered(300)
            await until(lambda: equals(healthy(installation), 2))
            served = await served_by(installation, 1)
            await until(lambda: serves_more_than(installation, 1, served + 20))
    assert set(load.statuses) == {200}, load.statuses


async def test_a_killed_envoy_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """SIGKILL of Envoy: what was under way and what arrives before it is back is answered by the next one."""
    async with async_client(installation, unlimited_key, timeout=PATIENCE) as client:
        load = Load(client)
        async with load.running():
            await load.answered(100)
            part(installation, "envoy").kill()
            await load.answered(300)
    assert set(load.statuses) == {200}, load.statuses


async def test_a_killed_model_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """SIGKILL of all models' processes of one worker: the other one answers what they had, and they are started again."""
    async with async_client(installation, unlimited_key, timeout=PATIENCE) as client:
        load = Load(client)
        async with load.running():
            await load.answered(100)
            before = models(installation, 0)
            for process in before:
                process.kill()
            await load.answered(300)
            await until(lambda: len(models(installation, 0)) == len(before), seconds=PATIENCE)
            served = await served_by(installation, 0)
            await until(lambda: serves_more_than(installation, 0, served + 20))
    assert set(load.statuses) == {200}, load.statuses
    assert len(before) >= 2
    assert not {process.pid for process in before} & {process.pid for process in models(installation, 0)}


def models(installation: Installation, index: int) -> list[psutil.Process]:
    """The models' processes of a worker: its frameworks' parents are between."""
    server = worker(installation, index)
    return [process for parent in server.children() for process in parent.children()]

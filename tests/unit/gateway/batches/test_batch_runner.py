"""The background work of a gateway: what it takes, how much at once, and what it leaves behind when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock_gateway.batches import batch_runner
from penstock_gateway.batches.batch_record import Status
from penstock_gateway.batches.batch_runner import BatchRunner
from tests.unit.gateway.batches.working import Clock, Working, requests, working


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Working:
    monkeypatch.setattr(batch_runner, "_POLL_SECONDS", 0.01)
    return working(str(tmp_path / "keys.db"), tmp_path / "files", clock=clock)


def runner(one: Working, ready: Callable[[], bool] = lambda: True) -> BatchRunner:
    return BatchRunner(one.batches, one.files, one.contents, one.calls, one.bounds, ready)


async def finished(one: Working, *batches: Any) -> list[Status]:
    """The statuses of batches once all of them are over."""
    while True:
        found = [await one.batches.show(batch.principal, batch.id) for batch in batches]
        if all(batch.progress.ended for batch in found):
            return [batch.status for batch in found]
        await asyncio.sleep(0.01)


async def test_all_batches_are_answered(one: Working) -> None:
    """Also if there are more of them than may be worked on at once."""
    batches = [await one.create(requests(20), principal) for principal in ("ann", "bob", "cay", "ann")]
    work = asyncio.create_task(runner(one).run())
    assert await finished(one, *batches) == [Status.COMPLETED] * 4
    work.cancel()


async def test_a_batch_need_not_wait_for_the_next_look(one: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken when the runner hears of it, and each step follows the one before."""
    monkeypatch.setattr(batch_runner, "_POLL_SECONDS", 1000.0)
    working_on = runner(one)
    work = asyncio.create_task(working_on.run())
    await asyncio.sleep(0.1)
    batch = await one.create(requests(5))
    working_on.look()
    async with asyncio.timeout(10):
        assert await finished(one, batch) == [Status.COMPLETED]
    work.cancel()


async def test_a_key_has_one_batch_in_progress(one: Working) -> None:
    """Its second one waits, is validated meanwhile, and does not hold up another key's."""
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    real = one.route.answer

    async def answer(content: str) -> Any:
        if content == "0":
            await waiting
        return await real(content)

    one.route.answer = answer  # type: ignore[method-assign]
    slow = await one.create(requests(1))
    work = asyncio.create_task(runner(one).run())
    while not one.route.asked["0"]:
        await asyncio.sleep(0.01)
    second, other = await one.create(requests(3)[len(requests(1)) :]), await one.create(requests(2), "bob")
    while (await one.batches.show("ann", second.id)).status is not Status.IN_PROGRESS:
        await asyncio.sleep(0.01)
    while one.route.asked["0"] < 2:  # bob's first one
        await asyncio.sleep(0.01)
    assert one.route.asked["2"] == 0
    waiting.set_result(None)
    assert await finished(one, slow, second, other) == [Status.COMPLETED] * 3
    work.cancel()


async def test_a_gateway_that_ends_frees_its_batches(one: Working, tmp_path: Path, clock: Clock) -> None:
    """Another one goes on at once, without waiting for the lease; while it is not ready, a gateway takes none."""

    async def never(content: str) -> Any:
        await asyncio.get_running_loop().create_future()

    one.route.answer = never  # type: ignore[method-assign]
    ready = False
    work = asyncio.create_task(runner(one, lambda: ready).run())
    batch = await one.create(requests(5))
    await asyncio.sleep(0.1)
    assert (await one.batches.show("ann", batch.id)).status is Status.VALIDATING
    ready = True
    while not one.route.asked:
        await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    two = Working(str(tmp_path / "keys.db"), tmp_path / "files", "two", clock)
    assert (await two.work(batch)).status is Status.COMPLETED


async def test_old_batches_are_forgotten(one: Working, clock: Clock) -> None:
    """Not those that are still open, however old."""
    done = await one.work(await one.create(requests(1)))
    still_open = await one.create(requests(1))
    clock.now += 31 * 86400
    await runner(one).collect()
    assert [batch.id for batch in await one.batches.find("ann", None, 10)] == [still_open.id]
    assert done.id != still_open.id

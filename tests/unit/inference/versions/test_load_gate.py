"""Loads take turns, small ones first, and only what fits into memory is loaded."""

from __future__ import annotations

import asyncio

import pytest

from penstock_inference.runners.memory import Memory
from penstock_inference.runners.process import LoadFailedError
from penstock_inference.versions.load_gate import LoadGate, NoRoomError
from penstock_inference.versions.memory_needs import Need

MB = 2**20


class FakeMemory:
    """A gigabyte, of which the gate leaves 128 MB to the server."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self) -> Memory:
        return Memory((1024 - self.taken) * MB, 1024 * MB)


@pytest.fixture
def memory() -> FakeMemory:
    return FakeMemory()


def need(megabytes: int) -> Need:
    return Need(megabytes * MB, "estimated from its files")


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_largest_is_last(memory: FakeMemory) -> None:
    """Of those that wait, the smallest goes first; as many run as may."""
    gate = LoadGate(2, 0, memory.read)
    done = asyncio.Event()
    order: list[int] = []

    async def load(megabytes: int) -> None:
        async with gate.admitted(need(megabytes), at_once=False):
            order.append(megabytes)
            await done.wait()

    loads = [asyncio.create_task(load(megabytes)) for megabytes in (1, 2, 90, 30, 60)]
    await settled()
    assert order == [1, 2]
    done.set()
    await asyncio.gather(*loads)
    assert order == [1, 2, 30, 60, 90]


async def test_one_that_gives_up_while_it_waits_leaves_its_turn_to_the_next(memory: FakeMemory) -> None:
    """Also if it gives up in the moment in which its turn comes."""
    gate = LoadGate(1, 0, memory.read)

    async def load() -> None:
        async with gate.admitted(need(1), at_once=False):
            pass

    async with gate.admitted(need(1), at_once=False):
        waiting = [asyncio.create_task(load()) for _ in range(3)]
        await settled()
        waiting[0].cancel()
        await settled()
    waiting[1].cancel()  # its turn has just come
    async with asyncio.timeout(5):
        await asyncio.wait(waiting)
        await load()
    assert [task.cancelled() for task in waiting] == [True, True, False]


async def test_a_process_that_replaces_one_does_not_wait(memory: FakeMemory) -> None:
    """A crash is repaired at once, whatever loads meanwhile."""
    gate = LoadGate(1, 0, memory.read)
    async with gate.admitted(need(1), at_once=False), gate.admitted(need(1), at_once=True):
        pass


async def test_what_does_not_fit_now_is_refused_with_figures(memory: FakeMemory) -> None:
    """What it needs, how that is known, what there is; it may fit once others are unloaded, and smaller ones are loaded."""
    gate = LoadGate(1, 0, memory.read)
    memory.taken = 500
    with pytest.raises(
        NoRoomError,
        match=r"needs about 600 MB of memory \(estimated from its files\); 396 MB of 1024 MB are available",
    ) as caught:
        async with gate.admitted(need(600), at_once=False):
            pass
    assert not caught.value.permanent and not gate.fits(need(600))
    async with gate.admitted(need(300), at_once=False) as bound:
        assert bound == 396 * MB
    memory.taken = 0
    assert gate.fits(need(600))
    async with gate.admitted(need(600), at_once=False):
        pass


async def test_what_never_fits_is_a_permanent_failure(memory: FakeMemory) -> None:
    """It names the limit, also while others load; the same load with more memory is admitted."""
    gate = LoadGate(2, 0, memory.read)
    async with gate.admitted(need(10), at_once=False):
        with pytest.raises(
            LoadFailedError, match=r"needs about 900 MB .* the limit is 1024 MB, of which 128 MB"
        ) as caught:
            async with gate.admitted(need(900), at_once=False):
                pass
    assert caught.value.permanent
    async with gate.admitted(need(896), at_once=False):
        pass


async def test_one_that_does_not_fit_beside_a_load_waits_for_its_end(memory: FakeMemory) -> None:
    """Each could fit alone. What the first has taken is known when its load has ended, and then the second is refused."""
    gate = LoadGate(2, 0, memory.read)
    admitted: list[str] = []

    async def load(name: str, goes_on: asyncio.Event, takes: int) -> None:
        async with gate.admitted(need(500), at_once=False):
            admitted.append(name)
            await goes_on.wait()
            memory.taken += takes

    events = [asyncio.Event() for _ in range(3)]
    loads = [asyncio.create_task(load(name, event, 300)) for name, event in zip("abc", events, strict=True)]
    await settled()
    assert admitted == ["a"]
    events[0].set()
    await settled()
    assert admitted == ["a", "b"] and not loads[2].done()
    events[1].set()
    with pytest.raises(NoRoomError, match="296 MB of 1024 MB are available"):
        await loads[2]
    await asyncio.gather(*loads[:2])


async def test_a_bound_for_each_model_is_named(memory: FakeMemory) -> None:
    """It is what a process gets, and what a refusal names."""
    gate = LoadGate(1, 200 * MB, memory.read)
    async with gate.admitted(need(200), at_once=False) as bound:
        assert bound == 200 * MB
    with pytest.raises(LoadFailedError, match="PENSTOCK_INFERENCE_MODEL_MEMORY_BYTES allows a model 200 MB") as caught:
        async with gate.admitted(need(201), at_once=False):
            pass
    assert caught.value.permanent

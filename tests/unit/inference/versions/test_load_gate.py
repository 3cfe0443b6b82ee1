"""Loads take turns, small ones first, and only what fits into memory is loaded."""

from __future__ import annotations

import asyncio

import pytest

from penstock_inference.runners.process import LoadFailedError
from penstock_inference.versions import load_gate
from penstock_inference.versions.load_gate import LoadGate

MB = 2**20


@pytest.fixture(autouse=True)
def _one_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gate sees: 1024 MB, of which it leaves 128 to the server."""
    monkeypatch.setattr(load_gate, "available_bytes", lambda: 1024 * MB)


async def test_the_largest_is_last() -> None:
    """Of those that wait, the smallest goes first; as many run as may."""
    gate = LoadGate(2, 0)
    done = asyncio.Event()
    order: list[int] = []

    async def load(megabytes: int) -> None:
        async with gate.admitted(megabytes * MB, at_once=False):
            order.append(megabytes)
            await done.wait()

    loads = [asyncio.create_task(load(megabytes)) for megabytes in (1, 2, 90, 30, 60)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == [1, 2]
    done.set()
    await asyncio.gather(*loads)
    assert order == [1, 2, 30, 60, 90]


async def test_one_that_gives_up_while_it_waits_leaves_its_turn_to_the_next() -> None:
    """Also if it gives up in the moment in which its turn comes."""
    gate = LoadGate(1, 0)

    async def load() -> None:
        async with gate.admitted(MB, at_once=False):
            pass

    async with gate.admitted(MB, at_once=False):
        waiting = [asyncio.create_task(load()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # its turn has just come
    async with asyncio.timeout(5):
        await asyncio.wait(waiting)
        await load()
    assert [task.cancelled() for task in waiting] == [True, True, False]


async def test_a_version_that_was_loaded_before_does_not_wait() -> None:
    """A crash is repaired at once, whatever loads meanwhile."""
    gate = LoadGate(1, 0)
    async with gate.admitted(MB, at_once=False), gate.admitted(MB, at_once=True):
        pass


async def test_what_does_not_fit_is_refused_with_figures() -> None:
    """Twice the files and a little, against what is left of the memory; the next load is admitted."""
    gate = LoadGate(1, 0)
    with pytest.raises(LoadFailedError, match="needs about 1064 MB of memory to load; 896 MB are available"):
        async with gate.admitted(500 * MB, at_once=False):
            pass
    async with gate.admitted(400 * MB, at_once=False) as bound:
        assert bound == 896 * MB


async def test_loads_that_run_count() -> None:
    """Each could fit, but not both at the same time."""
    gate = LoadGate(2, 0)
    async with gate.admitted(300 * MB, at_once=False):
        with pytest.raises(LoadFailedError, match="232 MB are available"):
            async with gate.admitted(300 * MB, at_once=False):
                pass


async def test_a_bound_for_each_model_is_named() -> None:
    """It is what a process gets, and what a refusal names."""
    gate = LoadGate(1, 200 * MB)
    async with gate.admitted(10 * MB, at_once=False) as bound:
        assert bound == 200 * MB
    with pytest.raises(LoadFailedError, match="200 MB are available by PENSTOCK_INFERENCE_MODEL_MEMORY_BYTES"):
        async with gate.admitted(100 * MB, at_once=False):
            pass

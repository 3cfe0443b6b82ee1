"""Cycles of objects are collected when nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Iterator

import pytest

from penstock_common.gc_tuning import collect_when_idle


class Node:
    """An object that keeps itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _no_other_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def test_an_idle_process_collects_cycles() -> None:
    """What only a cycle keeps is gone once the process has used little CPU for a while."""
    cycle = weakref.ref(Node())
    task = asyncio.create_task(collect_when_idle(0.001, clock=lambda: 0.0))
    async with asyncio.timeout(60):
        while cycle() is not None:
            await asyncio.sleep(0.001)
    task.cancel()


async def test_a_busy_process_is_left_alone() -> None:
    """Nothing is collected while all of a core is used."""
    cycle = weakref.ref(Node())
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return float(looks)

    task = asyncio.create_task(collect_when_idle(0.001, clock))
    async with asyncio.timeout(60):
        while looks < 10:
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert cycle() is not None

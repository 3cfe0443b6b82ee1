"""A model with long runs beside one with short ones, in real processes, with one slot for both.

No time is asserted: what counts is in which order runs begin, and what the runs themselves took.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from penstock_common.manifest import Batching
from penstock_inference.engine.device import Device, Share
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.message import Arrays, Message, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process import ModelProcess
from tests.unit.inference.runners.conftest import Start, odd_manifest

#: Multiplications of one run.
HEAVY, LIGHT = 1000, 1
HEAVY_RUNS = 8


class Recorded:
    """A process that tells the pair what it runs."""

    def __init__(self, name: str, process: ModelProcess, pair: Pair) -> None:
        self._name = name
        self._process = process
        self._pair = pair

    async def run(self, batch: Sequence[Arrays], rows: int) -> Outputs:
        self._pair.began.append(self._name)
        self._pair.gaps.append(self._pair.shares["heavy"].time - self._pair.shares["light"].time)
        started = time.perf_counter()
        outputs = await self._process.run(batch, rows)
        longest = self._pair.longest
        longest[self._name] = max(longest[self._name], time.perf_counter() - started)
        return outputs


class Pair:
    """Both models on one slot.

    Attributes:
        began: their names, in the order in which runs began.
        gaps: at each of these moments, the seconds that the heavy one had had more than the light one.
        longest: the seconds of the longest run of each.
    """

    def __init__(self) -> None:
        device = Device(1)
        self.began: list[str] = []
        self.gaps: list[float] = []
        self.longest = {"heavy": 0.0, "light": 0.0}
        self.shares: dict[str, Share] = {name: device.share() for name in ("heavy", "light")}
        manifest = odd_manifest("burn")
        manifest.batching = Batching(1)
        self.engines = {
            name: Engine(
                manifest,
                max_queue_rows=1000,
                max_queue_bytes=100_000,
                metrics=VersionMetrics(name, 1),
                share=share,
            )
            for name, share in self.shares.items()
        }

    def run_on(self, name: str, process: ModelProcess) -> None:
        self.engines[name].run_on(Recorded(name, process, self))

    async def ask(self, name: str, multiplications: int) -> None:
        inputs = {"x": np.array([multiplications], np.float32)}
        await self.engines[name].submit(Message(inputs, time.monotonic() + 60))

    async def ask_always(self, name: str, multiplications: int) -> None:
        while self.began.count("heavy") <= HEAVY_RUNS:
            await self.ask(name, multiplications)

    def always_heavy(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.ask_always("heavy", HEAVY)) for _ in range(3)]


@pytest.fixture
async def pair(start: Start) -> AsyncIterator[Pair]:
    pair = Pair()
    for name in pair.engines:
        pair.run_on(name, await start("burn"))
    yield pair


async def test_both_get_the_same_time(pair: Pair) -> None:
    """While both always have work, their times differ by about one run, however many runs that are."""
    callers = [*pair.always_heavy(), *[asyncio.create_task(pair.ask_always("light", LIGHT)) for _ in range(4)]]
    await asyncio.gather(*callers)
    last = max(index for index, name in enumerate(pair.began) if name == "light")
    heavy_runs = pair.began[:last].count("heavy")
    assert heavy_runs >= HEAVY_RUNS - 1
    assert last > 3 * heavy_runs
    bound = 1.1 * (pair.longest["heavy"] + pair.longest["light"])
    assert max(map(abs, pair.gaps[:last])) <= bound


async def test_a_short_run_waits_for_one_long_run_at_most(pair: Pair) -> None:
    """No other long run begins between its arrival and its own begin."""
    callers = pair.always_heavy()
    while pair.began.count("heavy") < HEAVY_RUNS:
        before = pair.began.count("heavy")
        while pair.began.count("heavy") == before:
            await asyncio.sleep(0)
        arrived = len(pair.began)
        await pair.ask("light", LIGHT)
        assert pair.began[arrived] == "light"
    await asyncio.gather(*callers)


async def test_a_process_that_ends_in_a_run_frees_the_slot(pair: Pair, start: Start) -> None:
    """What it had goes to another pod, and the other model's run begins."""
    endless = await start("loop")
    pair.engines["heavy"].lose(next(iter(pair.engines["heavy"]._scheduler._runners)), "it is replaced")
    pair.run_on("heavy", endless)
    hung = asyncio.create_task(pair.ask("heavy", -1))
    while pair.began != ["heavy"]:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(pair.ask("light", LIGHT))
    with pytest.raises(PodRefusalError, match="took more than 3 s"):
        await hung
    await waiting
    assert pair.began == ["heavy", "light"]

"""The pod's batcher: messages share runs, never fates."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.engine import scheduler as batching
from penstock_inference.engine.model import Arrays, LoadedModel
from penstock_inference.engine.scheduler import Batcher
from penstock_inference.metrics import gauges


class Doubler:
    """Doubles; refuses negative values; waits at a gate."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, tensors: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.batches.append(tensors[0].tolist())
        self.threads.append(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(10)
        if (tensors[0] < 0).any():
            raise PenstockError(422, "negative", "a negative value")
        return [tensors[0] * 2]


@pytest.fixture
def runner() -> Doubler:
    return Doubler()


@pytest.fixture
def batcher(regression: Manifest, runner: Doubler) -> Iterator[Batcher]:
    with ThreadPoolExecutor(1) as executor:
        yield Batcher(LoadedModel(regression, runner), executor, max_queue_rows=8, gauges=gauges("m", 1))
        runner.gate.set()


def rows(*values: float) -> Arrays:
    return {"x": np.array(values, dtype=np.float32)}


def later() -> float:
    return time.monotonic() + 30


async def busy(batcher: Batcher, runner: Doubler) -> asyncio.Future[Any]:
    """The executor in the middle of a run."""
    runner.gate.clear()
    first = batcher.submit(rows(1), 1, later())
    assert await asyncio.to_thread(runner.entered.wait, 5)
    return first


async def test_a_cancelled_message_leaves_its_neighbours_answered(batcher: Batcher, runner: Doubler) -> None:
    """A message cancelled in the queue is left out of the run; the others get their answers."""
    first = await busy(batcher, runner)
    waiting = [batcher.submit(rows(n), 1, later()) for n in (2, 3, 4)]
    waiting[1].cancel()
    runner.gate.set()
    answers = await asyncio.gather(first, waiting[0], waiting[2])
    assert [a[0].tolist() for a in answers] == [[2], [4], [8]]
    assert runner.batches == [[1], [2, 4]]


async def test_what_waits_runs_together_up_to_the_models_batch(batcher: Batcher, runner: Doubler) -> None:
    """Messages are packed whole, in order, four rows at most."""
    first = await busy(batcher, runner)
    waiting = [batcher.submit(rows(*v), len(v), later()) for v in ([2, 3], [4], [5, 6], [7])]
    runner.gate.set()
    await asyncio.gather(first, *waiting)
    assert runner.batches == [[1], [2, 3, 4], [5, 6, 7]]
    assert waiting[2].result()[0].tolist() == [10, 12]


async def test_a_bad_message_fails_alone(batcher: Batcher, runner: Doubler) -> None:
    """A run that fails is repeated message by message: one error, the others answered."""
    first = await busy(batcher, runner)
    waiting = [batcher.submit(rows(n), 1, later()) for n in (2, -3, 4)]
    runner.gate.set()
    answers = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert isinstance(answers[2], PenstockError)
    assert [a[0].tolist() for a in (answers[1], answers[3])] == [[4], [8]]  # type: ignore[index]


async def test_the_worker_outlives_a_failure(batcher: Batcher) -> None:
    """After a failed run the next message is answered."""
    with pytest.raises(PenstockError):
        await batcher.submit(rows(-1), 1, later())
    assert (await batcher.submit(rows(5), 1, later()))[0].tolist() == [10]


async def test_an_expired_message_never_reaches_the_model(batcher: Batcher, runner: Doubler) -> None:
    """504, and the model did not see it."""
    with pytest.raises(PenstockError) as caught:
        await batcher.submit(rows(1), 1, time.monotonic() - 1)
    assert caught.value.status == 504
    assert runner.batches == []


async def test_a_message_larger_than_a_batch_is_run_in_parts(batcher: Batcher, runner: Doubler) -> None:
    """Ten rows through a model that takes four come back as ten."""
    answer = await batcher.submit(rows(*range(10)), 10, later())
    assert answer[0].tolist() == [2 * n for n in range(10)]
    assert [len(b) for b in runner.batches] == [4, 4, 2]


async def test_a_full_queue_refuses_at_once(batcher: Batcher, runner: Doubler) -> None:
    """Beyond the bound a message is refused, and the waiting ones are not disturbed."""
    first = await busy(batcher, runner)
    waiting = [batcher.submit(rows(*range(4)), 4, later()) for _ in range(2)]
    with pytest.raises(PenstockError) as caught:
        batcher.submit(rows(1), 1, later())
    assert caught.value.code == "queue-full"
    runner.gate.set()
    await asyncio.gather(first, *waiting)


async def test_drain_waits_for_all(batcher: Batcher) -> None:
    """After drain everything accepted is answered."""
    futures = [batcher.submit(rows(n), 1, later()) for n in range(6)]
    await asyncio.wait_for(batcher.drain(), 10)
    assert all(f.done() for f in futures)


@pytest.mark.parametrize(("short", "here"), [(3600.0, [False, True, True]), (0.0, [False, False, False])])
async def test_short_runs_need_no_thread(
    batcher: Batcher, runner: Doubler, monkeypatch: pytest.MonkeyPatch, short: float, here: list[bool]
) -> None:
    """Once a run has shown to be short, the next ones happen on the event loop; longer ones never do."""
    monkeypatch.setattr(batching, "_SHORT_SECONDS", short)
    for n in range(3):
        assert (await batcher.submit(rows(n), 1, later()))[0].tolist() == [2 * n]
    assert [thread == threading.get_ident() for thread in runner.threads] == here


async def test_a_bad_message_fails_alone_in_a_short_run(
    batcher: Batcher, runner: Doubler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds for the executor's runs holds for those on the event loop."""
    monkeypatch.setattr(batching, "_SHORT_SECONDS", 3600.0)
    await batcher.submit(rows(1), 1, later())
    waiting = [batcher.submit(rows(n), 1, later()) for n in (2, -3, 4)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[1], PenstockError)
    assert [a[0].tolist() for a in (answers[0], answers[2])] == [[4], [8]]  # type: ignore[index]
    assert runner.batches == [[1], [2, -3, 4], [2], [-3], [4]]

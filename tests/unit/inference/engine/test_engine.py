"""The engine: messages share runs, and never fail because of each other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.message import Message, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.metrics import VersionMetrics
from tests.unit.inference.engine.mortal_runner import MortalRunner
from tests.unit.inference.fake_runner import FakeRunner
from tests.unit.inference.in_process import InProcess


class Doubler(FakeRunner):
    """Doubles; refuses negative values; waits at a gate."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.batches.append(batch[0].tolist())
        self.entered.set()
        assert self.gate.wait(10)
        if (batch[0] < 0).any():
            raise PenstockError(422, "negative", "a negative value")
        return [batch[0] * 2]


@pytest.fixture
def runner() -> Doubler:
    return Doubler()


@pytest.fixture
async def engine(regression: Manifest, runner: Doubler) -> AsyncIterator[Engine]:
    engine = Engine(regression, max_queue_rows=8, max_queue_bytes=1000, metrics=VersionMetrics("m", 1))
    engine.run_on(InProcess(regression, runner))
    yield engine
    runner.gate.set()


def submit(
    engine: Engine, *values: float, seconds: float = 30.0, retried: bool = False, principal: str = ""
) -> asyncio.Task[Outputs]:
    """A caller that waits for the answer to a message of these rows."""
    inputs = {"x": np.array(values, dtype=np.float32)}
    message = Message(inputs, time.monotonic() + seconds, principal, retried)
    answer = engine.submit(message)

    async def wait() -> Outputs:
        return await answer

    return asyncio.create_task(wait())


async def busy(engine: Engine, runner: Doubler) -> asyncio.Task[Outputs]:
    """The executor in the middle of a run."""
    runner.gate.clear()
    first = submit(engine, 1)
    assert await asyncio.to_thread(runner.entered.wait, 5)
    return first


async def test_a_cancelled_message_leaves_its_neighbours_answered(engine: Engine, runner: Doubler) -> None:
    """A message cancelled in the queue is left out of the run; the others get their answers."""
    first = await busy(engine, runner)
    waiting = [submit(engine, n) for n in (2, 3, 4)]
    await asyncio.sleep(0)  # the callers begin to wait
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    runner.gate.set()
    answers = await asyncio.gather(first, waiting[0], waiting[2])
    assert [a[0].tolist() for a in answers] == [[2], [4], [8]]
    assert runner.batches == [[1], [2, 4]]


async def test_what_waits_runs_together_up_to_the_models_batch(engine: Engine, runner: Doubler) -> None:
    """Messages are packed whole, in order, four rows at most."""
    first = await busy(engine, runner)
    waiting = [submit(engine, *v) for v in ([2, 3], [4], [5, 6], [7])]
    runner.gate.set()
    await asyncio.gather(first, *waiting)
    assert runner.batches == [[1], [2, 3, 4], [5, 6, 7]]
    assert waiting[2].result()[0].tolist() == [10, 12]


@pytest.fixture
def small_runs(engine: Engine, runner: Doubler) -> tuple[Engine, Doubler]:
    """An engine that has learnt that runs of one row are best."""
    for _ in range(10):
        engine._run_times.run_rows.add(1, 0.001)
        engine._run_times.run_rows.add(4, 4.0)
    return engine, runner


async def test_a_large_message_lets_others_in_between_its_rows(small_runs: tuple[Engine, Doubler]) -> None:
    """If large runs gain nothing, a row of another principal waits for one row and not for four."""
    engine, runner = small_runs
    large = submit(engine, 1, 2, 3, 4, principal="large")
    small = submit(engine, 9, principal="small")
    assert (await small)[0].tolist() == [18]
    assert (await large)[0].tolist() == [2, 4, 6, 8]
    assert sorted(runner.batches) == [[1], [2], [3], [4], [9]]
    assert runner.batches.index([9]) <= 1


async def test_a_row_that_fails_ends_its_message(small_runs: tuple[Engine, Doubler]) -> None:
    """The rows behind it are not run, and another message is answered."""
    engine, runner = small_runs
    large = submit(engine, -1, 2, 3, 4, principal="large")
    small = submit(engine, 9, principal="small")
    with pytest.raises(PenstockError, match="a negative value"):
        await large
    assert (await small)[0].tolist() == [18]
    await engine.drain()
    assert [4] not in runner.batches


async def test_a_cancelled_large_message_is_run_no_further(small_runs: tuple[Engine, Doubler]) -> None:
    """What is left of its rows leaves the queue."""
    engine, runner = small_runs
    runner.gate.clear()
    large = submit(engine, 1, 2, 3, 4)
    assert await asyncio.to_thread(runner.entered.wait, 5)
    large.cancel()
    await asyncio.wait([large])
    runner.gate.set()
    await engine.drain()
    assert len(runner.batches) < 4


async def test_a_bad_message_fails_alone(engine: Engine, runner: Doubler) -> None:
    """A run that fails is repeated in halves: one error, the others answered."""
    first = await busy(engine, runner)
    waiting = [submit(engine, n) for n in (2, -3, 4)]
    runner.gate.set()
    answers = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert isinstance(answers[2], PenstockError)
    assert [a[0].tolist() for a in (answers[1], answers[3])] == [[4], [8]]  # type: ignore[index]


async def test_the_worker_outlives_a_failure(engine: Engine) -> None:
    """After a failed run the next message is answered."""
    with pytest.raises(PenstockError):
        await submit(engine, -1)
    assert (await submit(engine, 5))[0].tolist() == [10]


async def test_an_expired_message_never_reaches_the_model(engine: Engine, runner: Doubler) -> None:
    """504, and the model did not see it."""
    with pytest.raises(PenstockError) as caught:
        await submit(engine, 1, seconds=-1)
    assert caught.value.status == 504
    assert runner.batches == []


async def test_a_message_larger_than_a_batch_is_run_in_parts(engine: Engine, runner: Doubler) -> None:
    """Ten rows through a model that takes four come back as ten."""
    answer = await submit(engine, *range(10))
    assert answer[0].tolist() == [2 * n for n in range(10)]
    assert [len(b) for b in runner.batches] == [4, 4, 2]


async def test_a_full_queue_refuses_at_once(engine: Engine, runner: Doubler) -> None:
    """Beyond the bound a message is refused, and the waiting ones are not disturbed."""
    first = await busy(engine, runner)
    waiting = [submit(engine, *range(4)) for _ in range(2)]
    with pytest.raises(PenstockError) as caught:
        submit(engine, 1)
    assert caught.value.code == "queue-full"
    runner.gate.set()
    await asyncio.gather(first, *waiting)


async def test_inputs_that_do_not_fit_are_refused_before_they_queue(engine: Engine, runner: Doubler) -> None:
    """422 from ``submit`` itself; the model does not see them."""
    with pytest.raises(PenstockError, match="datatype must be FP32") as caught:
        engine.submit(Message({"x": np.zeros(1)}, time.monotonic() + 30))
    assert caught.value.status == 422
    await engine.drain()
    assert runner.batches == []


async def test_drain_waits_for_all(engine: Engine) -> None:
    """After drain everything accepted is answered."""
    callers = [submit(engine, n) for n in range(6)]
    await asyncio.wait_for(engine.drain(), 10)
    assert all(caller.done() for caller in callers)


async def test_an_answer_is_also_a_stream_of_one_piece(engine: Engine) -> None:
    """So that all models can be asked for streams."""
    message = Message({"x": np.array([3], dtype=np.float32)}, time.monotonic() + 30)
    [(outputs, last)] = [piece async for piece in engine.stream(message)]
    assert outputs is not None and outputs[0].tolist() == [6]
    assert last


@pytest.fixture
async def mortal(regression: Manifest) -> tuple[Engine, MortalRunner]:
    engine = Engine(regression, max_queue_rows=8, max_queue_bytes=1000, metrics=VersionMetrics("m", 1))
    runner = MortalRunner(gate_open=True)
    engine.run_on(runner)
    return engine, runner


async def test_what_a_process_had_when_it_ended_goes_to_another_pod(mortal: tuple[Engine, MortalRunner]) -> None:
    """So does what waited behind it; on the next process, new messages are answered."""
    engine, runner = mortal
    runner.gate.clear()
    callers = [submit(engine, -1)]
    await asyncio.sleep(0)
    callers += [submit(engine, 1, 2, 3, 4), submit(engine, 5)]
    await asyncio.sleep(0)
    runner.gate.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [(type(answer), getattr(answer, "code", "")) for answer in answers] == [
        (PodRefusalError, "model-restarting")
    ] * 3
    later = submit(engine, 6)
    await asyncio.sleep(0)
    assert runner.batches == [[-1]]
    engine.run_on(MortalRunner(gate_open=True))
    assert (await later)[0].tolist() == [12]


async def test_a_message_that_ends_processes_is_found_among_its_neighbours(mortal: tuple[Engine, MortalRunner]) -> None:
    """Of those that another pod had before, each runs alone on the next process; only the cause is answered with 500."""
    engine, runner = mortal
    callers = [submit(engine, 1, retried=True), submit(engine, -2, retried=True), submit(engine, 3)]
    with pytest.raises(PodRefusalError):
        await callers[2]
    assert runner.batches == [[1, -2, 3]]
    second = MortalRunner(gate_open=True)
    engine.run_on(second)
    with pytest.raises(PenstockError) as caught:
        await callers[1]
    assert (caught.value.status, caught.value.code) == (500, "model-crashed")
    assert (await callers[0])[0].tolist() == [2]
    assert second.batches == [[1], [-2]]
    await asyncio.wait_for(engine.drain(), 10)


async def test_what_waits_for_a_process_that_does_not_come_is_refused(mortal: tuple[Engine, MortalRunner]) -> None:
    """With a refusal of this pod, whether the pod gave up or leaves."""
    engine, _ = mortal
    with pytest.raises(PodRefusalError):
        await submit(engine, -1)
    waiting = submit(engine, 1, retried=True)
    await asyncio.sleep(0)
    engine.refuse_waiting("could not be loaded")
    with pytest.raises(PodRefusalError, match="could not be loaded"):
        await waiting
    waiting = submit(engine, 1)
    await asyncio.sleep(0)
    await asyncio.wait_for(engine.drain(), 10)
    with pytest.raises(PodRefusalError, match="leaves this pod"):
        await waiting

"""Several processes of one version take batches from one queue, and one that ends costs only what it had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, Resources
from penstock_inference.engine.device import Device
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.message import Arrays, Message, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics
from tests.unit.inference.engine.mortal_runner import MortalRunner


def submit(engine: Engine, *values: float, retried: bool = False) -> asyncio.Task[Outputs]:
    answer = engine.submit(Message({"x": np.array(values, np.float32)}, time.monotonic() + 30, retried=retried))

    async def wait() -> Outputs:
        return await answer

    return asyncio.create_task(wait())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def instances() -> list[MortalRunner]:
    return [MortalRunner(gate_open=False), MortalRunner(gate_open=False)]


@pytest.fixture
async def engine(regression: Manifest, instances: list[MortalRunner]) -> Engine:
    """A version with two instances, and a slot for each."""
    regression.resources = Resources(instances=2)
    engine = Engine(regression, max_queue_rows=64, max_queue_bytes=1000, metrics=VersionMetrics("m", 1))
    for instance in instances:
        engine.run_on(instance)
    await settled()
    return engine


async def test_both_take_batches_from_one_queue(engine: Engine, instances: list[MortalRunner]) -> None:
    """While one runs, the next message goes to the other; what waits behind both is run by the first that is free."""
    callers = [submit(engine, 1)]
    await settled()
    callers.append(submit(engine, 2))
    await settled()
    callers += [submit(engine, 3), submit(engine, 4)]
    await settled()
    assert sorted(instance.batches for instance in instances) == [[[1]], [[2]]]
    for instance in instances:
        instance.gate.set()
    assert [answer[0].tolist() for answer in await asyncio.gather(*callers)] == [[2], [4], [6], [8]]
    assert [3, 4] in instances[0].batches + instances[1].batches


async def test_one_that_ends_leaves_the_other_serving(engine: Engine, instances: list[MortalRunner]) -> None:
    """Its batch goes to another pod; what waited, and what comes, is answered here."""
    lost = submit(engine, -1)
    await settled()
    kept = submit(engine, 2)
    await settled()
    waiting = [submit(engine, 3), submit(engine, 4)]
    for instance in instances:
        instance.gate.set()
    with pytest.raises(PodRefusalError) as caught:
        await lost
    assert caught.value.code == "model-restarting"
    assert [answer[0].tolist() for answer in await asyncio.gather(kept, *waiting)] == [[4], [6], [8]]
    assert (await submit(engine, 5))[0].tolist() == [10]
    dead = next(instance for instance in instances if [-1] in instance.batches)
    assert dead.batches == [[-1]]


async def test_one_that_ends_while_idle_is_not_used_again(engine: Engine, instances: list[MortalRunner]) -> None:
    """Nothing is refused for it; if the last one ends too, what comes waits for the next."""
    instances[1].gate.set()
    engine.lose(instances[0], "its process was ended by SIGKILL")
    assert (await submit(engine, 1))[0].tolist() == [2]
    engine.lose(instances[1], "its process was ended by SIGKILL")
    later = submit(engine, 2)
    await settled()
    assert not later.done()
    engine.run_on(third := MortalRunner(gate_open=False))
    third.gate.set()
    assert (await later)[0].tolist() == [4]
    assert instances[0].batches == []


async def test_one_that_ends_before_it_has_begun_is_not_used(engine: Engine, instances: list[MortalRunner]) -> None:
    """A message that was about to wake it is run by the other."""
    callers = [submit(engine, 1), submit(engine, 2)]
    for instance in instances:
        instance.gate.set()
    engine.lose(instances[0], "its process was ended by SIGKILL")
    assert [answer[0].tolist() for answer in await asyncio.gather(*callers)] == [[2], [4]]
    assert instances[0].batches == []


async def test_a_message_that_ends_processes_is_found_with_those_that_are_left(
    engine: Engine, instances: list[MortalRunner]
) -> None:
    """After it has ended one, it runs alone on the other, and its neighbour on the next one that comes."""
    for instance in instances:
        instance.gate.set()
    callers = [submit(engine, -1, retried=True), submit(engine, 2, retried=True)]
    with pytest.raises(PenstockError) as caught:
        await callers[0]
    assert caught.value.code == "model-crashed"
    assert sorted(instance.batches for instance in instances) == [[[-1]], [[-1, 2]]]
    engine.run_on(third := MortalRunner(gate_open=False))
    third.gate.set()
    assert (await callers[1])[0].tolist() == [4]


async def test_a_process_that_ends_gives_its_slot_back(regression: Manifest) -> None:
    """Another version's batch begins at once: a model that hangs holds a slot until it is killed, and no longer."""
    device = Device(1)
    hung, well = MortalRunner(gate_open=False), MortalRunner(gate_open=False)
    well.gate.set()
    engines = [
        Engine(
            regression,
            max_queue_rows=64,
            max_queue_bytes=1000,
            metrics=VersionMetrics(name, 1),
            share=device.share(),
        )
        for name in ("hung", "well")
    ]
    for engine, instance in zip(engines, (hung, well), strict=True):
        engine.run_on(instance)
    lost = submit(engines[0], -1)
    await settled()
    waiting = submit(engines[1], 1)
    await settled()
    assert well.batches == []
    hung.gate.set()  # as the forker's watch does when it kills the process
    assert (await waiting)[0].tolist() == [2]
    with pytest.raises(PodRefusalError):
        await lost


async def test_a_process_that_ends_while_its_batch_waits_for_a_slot_loses_no_message(regression: Manifest) -> None:
    """The message has not left for it; it runs on the next process."""
    device = Device(1)
    engine = Engine(
        regression, max_queue_rows=64, max_queue_bytes=1000, metrics=VersionMetrics("m", 1), share=device.share()
    )
    other = device.share()
    assert device.take(other)
    first, second = MortalRunner(gate_open=False), MortalRunner(gate_open=False)
    second.gate.set()
    engine.run_on(first)
    caller = submit(engine, 1, retried=True)
    await settled()
    engine.lose(first, "its process was ended by SIGKILL")
    engine.run_on(second)
    device.give_back(other)
    assert (await caller)[0].tolist() == [2]
    assert first.batches == []


async def test_a_message_of_many_runs_lets_others_run_between_them(regression: Manifest) -> None:
    """Ten rows of a model that takes four at a time are three runs; another version's batch waits for one of them."""
    device = Device(1)
    order: list[str] = []

    class Named(MortalRunner):
        def __init__(self, name: str) -> None:
            super().__init__(gate_open=False)
            self.name = name
            self.gate.set()

        async def run(self, batch: Sequence[Arrays], rows: int) -> Outputs:
            order.append(self.name)
            await settled()
            return await super().run(batch, rows)

    engines = {
        name: Engine(
            regression,
            max_queue_rows=64,
            max_queue_bytes=1000,
            metrics=VersionMetrics(name, 1),
            share=device.share(),
        )
        for name in ("large", "small")
    }
    for name, engine in engines.items():
        engine.run_on(Named(name))
    large, small = submit(engines["large"], *range(10)), submit(engines["small"], 1)
    assert (await large)[0].tolist() == [2 * n for n in range(10)]
    assert (await small)[0].tolist() == [2]
    assert order == ["large", "small", "large", "large"]


def test_what_waits_for_two_processes_takes_half_the_time() -> None:
    """A refusal because of a deadline counts all that work on the queue."""
    times = RunTimes(4)
    times.add(4, 2.0)
    times.parallel = 2
    assert times.estimate(16) == 4.0

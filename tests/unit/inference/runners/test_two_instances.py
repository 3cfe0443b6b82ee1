"""Two real processes of one version behind one queue."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import numpy as np
import pytest

from penstock_common.manifest import Batching, Resources
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process import ModelProcess
from tests.unit.inference.runners.conftest import Start, odd_manifest


async def ask(engine: Engine, value: float) -> float:
    message = Message({"x": np.array([value], np.float32)}, time.monotonic() + 60)
    (outputs,) = await engine.submit(message)
    return float(outputs[0])


async def test_one_that_is_killed_costs_the_batch_that_it_had(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run batches at the same time; the other answers all the rest, and a third takes the place of the dead one."""
    manifest = odd_manifest("loop")
    manifest.batching, manifest.resources = Batching(1), Resources(instances=2)
    engine = Engine(manifest, max_queue_rows=1000, max_queue_bytes=100_000, metrics=VersionMetrics("m", 1))
    took: dict[int, int] = {}
    run = ModelProcess.run

    async def counted(self: ModelProcess, *arguments: object) -> object:
        took[self.pid] = took.get(self.pid, 0) + 1
        return await run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelProcess, "run", counted)
    processes = [await start("loop"), await start("loop")]
    for process in processes:
        engine.run_on(process)

    hung = asyncio.create_task(ask(engine, -1))
    while not took:
        await asyncio.sleep(0)
    (dead,) = took
    assert await asyncio.gather(*[ask(engine, value) for value in range(20)]) == [2 * value for value in range(20)]
    assert len(took) == 2 and took[dead] == 1

    waiting = [asyncio.create_task(ask(engine, value)) for value in range(20)]
    os.kill(dead, signal.SIGKILL)
    with pytest.raises(PodRefusalError, match="SIGKILL"):
        await hung
    assert await asyncio.gather(*waiting) == [2 * value for value in range(20)]

    engine.run_on(await start("loop"))
    await asyncio.gather(*[ask(engine, value) for value in range(20)])
    assert len(took) == 3 and took[dead] == 1

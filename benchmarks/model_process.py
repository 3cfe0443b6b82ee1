"""What it costs that a model runs in a process of its own: a batch there and back, beside a call in this process.

    python -m benchmarks.model_process [--seconds 3]

The model does nothing. Both ways begin with the inputs of single messages and end with the outputs of the batch, so
both copy the inputs once, into one batch. Prints the medians of single calls over rounds that alternate, and
their tenth percentiles, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.nothing_program import Nothing
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.message import Arrays
from penstock_inference.runners.forker import Forker

#: What a batch is: its name, the shape of a row, the number of messages with one row each.
CASES = [("1 row of 16", [16], 1), ("64 rows of 16", [16], 64), ("32 images of 3x224x224", [3, 224, 224], 32)]
ROUNDS = 5


def manifest(shape: list[int], answer: str) -> Manifest:
    return Manifest(
        format=Format.ONNX,
        file="none",
        task=Task.TENSOR,
        inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=shape)],
        outputs=[Output("y", "FP32")],
        description=answer,
    )


async def seconds_of_calls(call: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    """Return the seconds of each call that began within some seconds."""
    measured = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        await call()
        measured.append(time.perf_counter() - started)
    return measured


async def measure(
    forker: Forker, folder: Path, shape: list[int], messages: int, answer: str, seconds: float
) -> tuple[list[float], list[float]]:
    """Return the seconds of each batch in this process, and in its own."""
    its = manifest(shape, answer)
    model = Nothing(its)
    process = await forker.start(its, folder, threads=1, memory_bytes=2**30)
    batch: list[Arrays] = [{"x": np.random.default_rng(n).random((1, *shape), np.float32)} for n in range(messages)]

    async def here() -> object:
        return model.run({"x": np.concatenate([message["x"] for message in batch])})

    async def there() -> object:
        return await process.run(batch, messages)

    in_process: list[float] = []
    own_process: list[float] = []
    for _ in range(ROUNDS):
        in_process += await seconds_of_calls(here, seconds / ROUNDS)
        own_process += await seconds_of_calls(there, seconds / ROUNDS)
    await process.stop()
    return in_process, own_process


async def main(seconds: float) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    forker = Forker(run_seconds=60, load_seconds=60, program="benchmarks.nothing_program")
    table = Table(title="one batch, a model that does nothing")
    for column in ("batch", "answer", "of the calls", "in process, ms", "own process, ms", "added, ms", "ratio"):
        table.add_column(column, justify="right" if column.endswith(("ms", "ratio")) else "left")
    with tempfile.TemporaryDirectory() as folder:
        for name, shape, messages in CASES:
            for answer in ("a value", "echo"):
                here, there = await measure(forker, Path(folder), shape, messages, answer, seconds)
                for title, part in (("median", 4), ("10th percentile", 0)):
                    low, high = [1000 * statistics.quantiles(calls, n=10)[part] for calls in (here, there)]
                    values = [f"{value:.3f}" for value in (low, high, high - low)]
                    table.add_row(name, answer, title, *values, f"{high / low:.1f}")
    await forker.close()
    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each way and each batch")
    uvloop.run(main(parser.parse_args().seconds))

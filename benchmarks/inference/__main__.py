"""What a pod costs: throughput beside a loop in one process, memory, and the seconds of loads.

    python -m benchmarks.inference [--rounds 3] [--seconds 4]

Everything that serves is pinned to one core, and the clients to another. Loop, TorchServe (where Java is there) and pod
take turns, so that the ratios of one run can be compared on a machine that is busy with other work; the figures of two
runs cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.inference import beside_torchserve, smollm2
from benchmarks.inference.footprint import Framework, frameworks, server_resident
from benchmarks.inference.pod import pod, publish, registry, train_spam
from benchmarks.inference.resnet18 import FILES, write_artifact
from benchmarks.inference.throughput import Case, measure, measure_streams
from benchmarks.processes import LOAD_CPU, SERVING_CPU
from benchmarks.virtual_environments import UnavailableError
from penstock_common.registry_client import RegistryClient

#: Of each format.
COPIES = 10
NAMES = {"torch-export": "resnet18-torch", "onnx": "resnet18-onnx"}


async def fetch_spam(url: str, folder: Path) -> Path:
    async with RegistryClient(url, None) as client:
        await client.fetch((await client.model("spam")).versions[1], folder)
    return folder


def throughput(url: str, home: Path, rounds: int, seconds: float) -> tuple[list[Case], list[Case], str]:
    """Return the cases beside the loop, those beside TorchServe, and why there are none of these."""
    artifacts = {}
    for file_format, name in NAMES.items():
        artifacts[name] = write_artifact(home / name, file_format, max_batch_size=32)
        asyncio.run(publish(url, artifacts[name], [name]))
    train_spam(url)
    artifacts["spam"] = asyncio.run(fetch_spam(url, home / "spam"))
    with pod(url, "resnet18-*,spam", 3, home / "cache") as running:
        cases = measure(running, artifacts, rounds, seconds)
        name = NAMES["torch-export"]
        try:
            return cases, beside_torchserve.measure(running, name, artifacts[name], rounds, seconds), ""
        except UnavailableError as reason:
            return cases, [], f"TorchServe is left out: {reason}"


def tokens(url: str, home: Path, rounds: int, seconds: float) -> list[Case]:
    """Return the tokens per second of a small chat model; nothing if it is not installed."""
    if not smollm2.installed():
        return []
    artifact = smollm2.write_artifact(home / smollm2.NAME)
    asyncio.run(publish(url, artifact, [smollm2.NAME]))
    with pod(url, smollm2.NAME, 1, home / "chat") as running:
        return measure_streams(running, artifact, rounds, seconds)


def loads_and_memory(url: str, home: Path) -> tuple[list[tuple[str, float]], list[Framework], float]:
    """Return the seconds of a first start and of a second one, and the memory after it."""
    for file_format in FILES:
        folder = write_artifact(home / f"copy-{file_format}", file_format, max_batch_size=4)
        asyncio.run(publish(url, folder, [f"copy-{file_format}-{i}" for i in range(COPIES)]))
    with pod(url, "copy-*", 2 * COPIES, home / "copies") as first:
        seconds = [("first start, files from the registry", first.seconds)]
    with pod(url, "copy-*", 2 * COPIES, home / "copies") as second:
        seconds.append(("restart, files on its disk", second.seconds))
        return seconds, frameworks(second.process), server_resident(second.process)


def print_tables(
    console: Console,
    cases: list[Case],
    torchserve: list[Case],
    chat: list[Case],
    seconds: list[tuple[str, float]],
    memory: list[Framework],
    server: float,
) -> None:
    for title, other, measured in (
        ("rows per second, one core", "loop", cases),
        ("rows per second, one core", "TorchServe", torchserve),
        ("tokens per second, one core", "loop", chat),
    ):
        if not measured:
            continue
        table = Table(title, other, "served", f"served / {other}", "the same by CPU time")
        for case in measured:
            cells = [f"{case.loop:,.1f}", f"{case.served:,.1f}", f"{case.ratio:.2f}", f"{case.cpu_ratio:.2f}"]
            table.add_row(case.name, *cells)
        console.print(table)
    if not chat:
        console.print("Without the packages of requirements-models.txt, no tokens were measured.")
    table = Table(f"{2 * COPIES} ResNet-18, half of each format", "seconds", "per model")
    for name, taken in seconds:
        table.add_row(name, f"{taken:.1f}", f"{taken / (2 * COPIES):.2f}")
    console.print(table)
    table = Table("MB", "models", "parent", "a model", "of that its own", "all", "all / unshared")
    for one in memory:
        ratio = one.together / (one.models * one.resident)
        cells = [one.parent, one.resident, one.private, one.together]
        table.add_row(one.name, str(one.models), *[f"{value:,.0f}" for value in cells], f"{ratio:.2f}")
    console.print(table)
    console.print(f"The server itself has {server:,.0f} MB. Load of the machine: {os.getloadavg()[0]:.1f}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each that is measured, in each round")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder, registry(Path(folder)) as url:
        os.sched_setaffinity(0, {LOAD_CPU})
        console.print(f"serving on core {SERVING_CPU}, clients on core {LOAD_CPU}")
        cases, torchserve, skipped = throughput(url, Path(folder), options.rounds, options.seconds)
        chat = tokens(url, Path(folder), options.rounds, options.seconds)
        print_tables(console, cases, torchserve, chat, *loads_and_memory(url, Path(folder)))
        if skipped:
            console.print(skipped)


if __name__ == "__main__":
    main()

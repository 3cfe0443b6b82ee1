"""Rows per second that a pod answers, as a share of the loop in one process on the same core."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import grpc

from benchmarks.inference.requests import image_request, text_request
from benchmarks.processes import PIN
from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from tests.installation import ROOT

#: Of ResNet-18: how many clients send an image each; the loop's batches have as many.
CLIENTS = (1, 8, 32)
#: Of the text model: how many rows one client sends in a message.
BUNDLES = (1, 16, 64)

#: A case's name, the rows per second of the loop, and those that were served.
Row = tuple[str, float, float]


class Loop:
    """A process on the serving core that runs a model in a loop when asked."""

    def __init__(self, process: subprocess.Popen[str], given: IO[str], answered: IO[str]) -> None:
        self._process = process
        self._given = given
        self._answered = answered

    def rows_per_second(self, batch: int, seconds: float) -> float:
        self._given.write(f"{batch} {seconds}\n")
        self._given.flush()
        return float(self._answered.readline())


@contextmanager
def loop(name: str, artifact: Path) -> Iterator[Loop]:
    command = [*PIN, sys.executable, "-m", "benchmarks.inference.in_process", name, str(artifact)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield Loop(process, process.stdin, process.stdout)
        finally:
            process.kill()


async def served_per_second(address: str, request: pb.ModelInferRequest, clients: int, seconds: float) -> float:
    """Return the rows per second that some clients get, each of which sends its next message when it has its answer."""
    rows = request.inputs[0].shape[0]
    answered: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await stub.ModelInfer(request, timeout=60)
                answered.append(time.perf_counter())

        await stub.ModelInfer(request, timeout=60)
        started = time.perf_counter()
        end = started + seconds
        await asyncio.gather(*[client() for _ in range(clients)])
    # Clients end together, after the last batch; what they got then counts with the time that it took.
    return len(answered) * rows / (max(answered) - started)


def measure(address: str, artifacts: dict[str, Path], rounds: int, seconds: float) -> list[Row]:
    """Measure loop and pod in turns; return the medians over the rounds."""
    rows: list[Row] = []
    for name, artifact in artifacts.items():
        with loop(name, artifact) as beside:
            for size in BUNDLES if name == "spam" else CLIENTS:
                request = text_request(size) if name == "spam" else image_request(name)
                clients = 1 if name == "spam" else size
                what = f"{size} rows a message" if name == "spam" else f"{size} clients"
                here, served = [], []
                for _ in range(rounds):
                    here.append(beside.rows_per_second(size, seconds))
                    served.append(asyncio.run(served_per_second(address, request, clients, seconds)))
                rows.append((f"{name}, {what}", statistics.median(here), statistics.median(served)))
    return rows

"""Rows per second that a pod answers, as a share of the loop in one process on the same core."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import grpc
import psutil

from benchmarks.inference.pod import Pod
from benchmarks.inference.requests import image_request, text_request
from benchmarks.processes import PIN
from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from tests.installation import ROOT

#: Of ResNet-18: how many clients send an image each; the loop's batches have as many.
CLIENTS = (1, 8, 32)
#: Of the text model: how many rows one client sends in a message.
BUNDLES = (1, 16, 64)


class Rates(NamedTuple):
    """Rows per second of the clock, and per second of CPU time, which other work on the machine disturbs less."""

    clock: float
    cpu: float


class Case(NamedTuple):
    """The medians over the rounds; each ratio is the median of the rounds' own."""

    name: str
    loop: float
    served: float
    ratio: float
    cpu_ratio: float


class Loop:
    """A process on the serving core that runs a model in a loop when asked."""

    def __init__(self, process: subprocess.Popen[str], given: IO[str], answered: IO[str]) -> None:
        self._process = process
        self._given = given
        self._answered = answered

    def rates(self, batch: int, seconds: float) -> Rates:
        self._given.write(f"{batch} {seconds}\n")
        self._given.flush()
        clock, cpu = self._answered.readline().split()
        return Rates(float(clock), float(cpu))


@contextmanager
def loop(name: str, artifact: Path) -> Iterator[Loop]:
    command = [*PIN, sys.executable, "-m", "benchmarks.inference.in_process", name, str(artifact)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield Loop(process, process.stdin, process.stdout)
        finally:
            process.kill()


def _cpu_seconds(server: psutil.Process) -> float:
    """Return the CPU time so far of the server and of the models' processes."""
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def served_rates(pod: Pod, request: pb.ModelInferRequest, clients: int, seconds: float) -> Rates:
    """Return the rates of some clients, each of which sends its next message when it has its answer."""
    with grpc.insecure_channel(pod.address) as channel, ThreadPoolExecutor(clients) as threads:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(request, timeout=60)
        started, started_cpu = time.perf_counter(), _cpu_seconds(pod.process)

        def client(_: int) -> int:
            answers = 0
            while time.perf_counter() < started + seconds:
                stub.ModelInfer(request, timeout=60)
                answers += 1
            return answers

        rows = request.inputs[0].shape[0] * sum(threads.map(client, range(clients)))
        return Rates(rows / (time.perf_counter() - started), rows / (_cpu_seconds(pod.process) - started_cpu))


def measure(pod: Pod, artifacts: dict[str, Path], rounds: int, seconds: float) -> list[Case]:
    """Measure loop and pod in turns."""
    cases = []
    for name, artifact in artifacts.items():
        with loop(name, artifact) as beside:
            for size in BUNDLES if name == "spam" else CLIENTS:
                if name == "spam":
                    what, request, clients = f"rows in a message: {size}", text_request(size), 1
                else:
                    what, request, clients = f"clients: {size}", image_request(name), size
                here, served = [], []
                for _ in range(rounds):
                    here.append(beside.rates(size, seconds))
                    served.append(served_rates(pod, request, clients, seconds))
                pairs = list(zip(here, served, strict=True))
                cases.append(
                    Case(
                        f"{name}, {what}",
                        statistics.median(one.clock for one in here),
                        statistics.median(one.clock for one in served),
                        statistics.median(one.clock / other.clock for other, one in pairs),
                        statistics.median(one.cpu / other.cpu for other, one in pairs),
                    )
                )
    return cases

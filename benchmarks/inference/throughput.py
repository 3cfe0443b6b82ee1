"""Rows per second that a pod answers, as a share of the loop in one process on the same core."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import grpc
import psutil

from benchmarks.inference import smollm2
from benchmarks.inference.pod import Pod
from benchmarks.inference.requests import image_request, text_request
from benchmarks.processes import PIN
from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from tests.installation import ROOT

#: Of ResNet-18: how many clients send an image each; the loop's batches have as many.
CLIENTS = (1, 8, 32)
#: Of the chat model: how many clients read a stream each; the loop generates as many texts at once.
STREAMS = (1, 8)
#: Of the text model: how many rows one client sends in a message.
BUNDLES = (1, 16, 64)


#: Asks a pod once; returns how many rows, or tokens, were answered.
Ask = Callable[[inference_pb2_grpc.GRPCInferenceServiceStub], int]


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


def _cpu_seconds(servers: Sequence[psutil.Process]) -> float:
    """Return the CPU time so far of the servers and of their children, such as the models' processes."""
    times = [process.cpu_times() for server in servers for process in (server, *server.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def served_rates(pod: Pod, ask: Ask, clients: int, seconds: float) -> Rates:
    """Return the rates of some clients, each of which asks again when it has its answer."""
    with grpc.insecure_channel(pod.address) as channel:
        return rates(
            [pod.process], partial(ask, inference_pb2_grpc.GRPCInferenceServiceStub(channel)), clients, seconds
        )


def rates(servers: Sequence[psutil.Process], ask: Callable[[], int], clients: int, seconds: float) -> Rates:
    """Return the rates of some clients of servers whose children belong to them.

    Args:
        ask: asks once; returns how many rows were answered.
    """
    ask()
    started, started_cpu = time.perf_counter(), _cpu_seconds(servers)

    def client(_: int) -> int:
        rows = 0
        while time.perf_counter() < started + seconds:
            rows += ask()
        return rows

    with ThreadPoolExecutor(clients) as threads:
        rows = sum(threads.map(client, range(clients)))
    return Rates(rows / (time.perf_counter() - started), rows / (_cpu_seconds(servers) - started_cpu))


def unary(request: pb.ModelInferRequest) -> Ask:
    def ask(stub: inference_pb2_grpc.GRPCInferenceServiceStub) -> int:
        stub.ModelInfer(request, timeout=60)
        return int(request.inputs[0].shape[0])

    return ask


def take_turns(name: str, here: Callable[[], Rates], served: Callable[[], Rates], rounds: int) -> Case:
    """Measure a loop, or another server, and a pod one after the other, in each round."""
    pairs = [(here(), served()) for _ in range(rounds)]
    return Case(
        name,
        statistics.median(one.clock for one, _ in pairs),
        statistics.median(other.clock for _, other in pairs),
        statistics.median(other.clock / one.clock for one, other in pairs),
        statistics.median(other.cpu / one.cpu for one, other in pairs),
    )


def measure_streams(pod: Pod, artifact: Path, rounds: int, seconds: float) -> list[Case]:
    """Measure tokens per second of a model that streams, in turns with ``generate`` of as many texts at once."""
    cases = []
    with loop(smollm2.NAME, artifact) as beside:
        for streams in STREAMS:

            def here(streams: int = streams) -> Rates:
                return Rates(*[smollm2.TOKENS * rate for rate in beside.rates(streams, seconds)])

            def served(streams: int = streams) -> Rates:
                return served_rates(pod, smollm2.stream, streams, seconds)

            cases.append(take_turns(f"{smollm2.NAME}, streams: {streams}", here, served, rounds))
    return cases


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
                case = take_turns(
                    f"{name}, {what}",
                    partial(beside.rates, size, seconds),
                    partial(served_rates, pod, unary(request), clients, seconds),
                    rounds,
                )
                cases.append(case)
    return cases

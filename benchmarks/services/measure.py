"""Measures a service of an installation beside its model alone; chat and embeddings beside another server too."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from benchmarks.inference.throughput import rates
from benchmarks.processes import PIN
from benchmarks.services.alone import alone
from benchmarks.services.catalogue import SERVICES, Service
from benchmarks.services.infinity import infinity
from benchmarks.services.rounds import ALONE, Case, LeftOutError, Round
from benchmarks.services.samples import Sample
from benchmarks.systems import fetch_artifact
from benchmarks.virtual_environments import UnavailableError
from tests.installation import Installation
from tests.transformers_server import transformers_server

_TIMEOUT = 300


class Server(NamedTuple):
    """A server of a service.

    Attributes:
        model: what it calls the model.
        processes: that do its work, with their children.
    """

    client: httpx.Client
    model: str
    processes: list[psutil.Process]


@contextmanager
def client_of(url: str, headers: dict[str, str]) -> Iterator[httpx.Client]:
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, limits=limits) as client:
        yield client


def measure(
    name: str,
    installation: Installation,
    key: str,
    home: Path,
    rounds: int,
    seconds: float,
    note: Callable[[str], None],
) -> list[Case]:
    """Add a service, and measure it.

    Args:
        home: folder for files.
        note: takes a line about a system that is left out.

    Raises:
        LeftOutError: the samples or the model's weights cannot be had.
    """
    service = SERVICES[name]
    samples = service.samples()
    done = installation.penstock("add", name, check=False)
    if done.returncode:
        raise LeftOutError(" ".join(done.stderr.split()))
    artifact = asyncio.run(fetch_artifact(installation, name, home / name))
    with ExitStack() as stack:
        answer: dict[str, Callable[[], list[Any]]] = {}
        run: dict[str, Callable[[int], Round]] = {}
        try:
            beside = stack.enter_context(alone(name, artifact, samples, home / f"{name}.json"))
            answer[ALONE], run[ALONE] = beside.answers, lambda load: beside.round(load, seconds)
        except LeftOutError as reason:
            note(f"{name}: the model alone is left out: {reason}")
        for system, server in _servers(stack, name, artifact, installation, key, home, note).items():
            answer[system] = lambda server=server: answers_of(server, service, samples)  # type: ignore[misc]
            run[system] = lambda load, server=server: round_of(server, service, samples, load, seconds)  # type: ignore[misc]
        quality = _quality(service, samples, {system: ask() for system, ask in answer.items()})
        cases = []
        for load in service.loads:
            measured: dict[str, list[Round]] = {system: [] for system in run}
            for _ in range(rounds):
                for system, one in run.items():
                    measured[system].append(one(load))
            cases.append(Case(name, load, service.unit, measured, quality if load == service.loads[0] else {}))
        return cases


def _servers(
    stack: ExitStack,
    name: str,
    artifact: Path,
    installation: Installation,
    key: str,
    home: Path,
    note: Callable[[str], None],
) -> dict[str, Server]:
    servers = {}
    if name == "chat":
        other = stack.enter_context(transformers_server(artifact / "model", home / "transformers.log", prefix=PIN))
        client = stack.enter_context(client_of(other.url, {}))
        servers["transformers serve"] = Server(client, other.model, [psutil.Process(other.pid)])
    if name == "embeddings":
        try:
            beside = stack.enter_context(infinity(artifact / "model"))
            client = stack.enter_context(client_of(beside.url, {}))
            servers["infinity"] = Server(client, beside.model, [psutil.Process(beside.pid)])
        except UnavailableError as reason:
            note(f"{name}: infinity is left out: {reason}")
    client = stack.enter_context(client_of(f"{installation.url}/v1", {"API-Key": key}))
    parts = [psutil.Process(int(str(part["pid"]))) for part in installation.status()]
    servers["penstock"] = Server(client, name, parts)
    return servers


def _quality(service: Service, samples: list[Sample], answers: dict[str, list[Any]]) -> dict[str, str]:
    own = answers.get(ALONE)
    if own is None and service.needs_own:
        return {}
    return {system: service.quality(samples, found, own or []) for system, found in answers.items()}


def answers_of(server: Server, service: Service, samples: list[Sample]) -> list[Any]:
    """Return a server's answers to all samples, one by one."""
    return [service.ask(server.client, server.model, sample.data).value for sample in samples]


def round_of(server: Server, service: Service, samples: list[Sample], clients: int, seconds: float) -> Round:
    """Return what a server does for clients each of which asks again when it has its answer."""
    given = itertools.cycle(samples)
    first = []

    def ask() -> int:
        sample = next(given)
        answer = service.ask(server.client, server.model, sample.data)
        if answer.first_ms is not None:
            first.append(answer.first_ms)
        return sample.units

    measured = rates(server.processes, ask, clients, seconds)
    return Round(measured.clock, measured.cpu, statistics.median(first) if first else None)

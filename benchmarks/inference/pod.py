"""A registry, and pods that serve what is in it, all pinned to the serving core."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from benchmarks.processes import server
from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget
from tests.installation import ROOT, free_ports

_LOAD_SECONDS = 300


@contextmanager
def registry(home: Path) -> Iterator[str]:
    """Run a registry; yield its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PENSTOCK_REGISTRY_PORT": str(port),
        "PENSTOCK_REGISTRY_STORE_URL": str(home / "store"),
        "PENSTOCK_REGISTRY_ALLOW_ANONYMOUS": "true",
        "PENSTOCK_REGISTRY_LOG_LEVEL": "warning",
    }
    with server([sys.executable, "-m", "penstock_registry"], ready_url=f"{url}/readyz", environment=environment):
        yield url


async def publish(url: str, folder: Path, names: list[str]) -> None:
    """Register one artifact under some names, each in production."""
    async with RegistryClient(url, None) as client:
        for name in names:
            version = await client.publish(name, folder, metrics={}, lineage={})
            await client.set_alias(name, PRODUCTION, [AliasTarget(version.version, 100)])


def train_spam(url: str) -> None:
    command = [sys.executable, "-m", "penstock_training", "spam", "--registry-url", url]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@dataclass
class Pod:
    """A pod whose models are all ready.

    Args:
        seconds: from its start until they were.
    """

    address: str
    process: psutil.Process
    seconds: float


@contextmanager
def pod(url: str, models: str, count: int, cache: Path) -> Iterator[Pod]:
    """Run a pod.

    Args:
        models: glob of the models that it serves.
        count: how many that are.
        cache: folder of the fetched artifacts.

    Raises:
        SystemExit: a model could not be loaded; the reason is the pod's.
    """
    port, metrics = free_ports(2)
    environment = {
        "PENSTOCK_INFERENCE_PORT": str(port),
        "PENSTOCK_INFERENCE_METRICS_PORT": str(metrics),
        "PENSTOCK_INFERENCE_REGISTRY_URL": url,
        "PENSTOCK_INFERENCE_CACHE_DIR": str(cache),
        "PENSTOCK_INFERENCE_MODELS": models,
        "PENSTOCK_INFERENCE_DRAIN_SECONDS": "0",
        "PENSTOCK_INFERENCE_LOG_LEVEL": "warning",
    }
    started = time.perf_counter()
    command = [sys.executable, "-m", "penstock_inference"]
    with server(command, ready_url=f"http://127.0.0.1:{metrics}/metrics", environment=environment) as pid:
        address = f"127.0.0.1:{port}"
        _wait_until_loaded(address, count)
        seconds = time.perf_counter() - started
        yield Pod(address, psutil.Process(pid), seconds)


def _wait_until_loaded(address: str, count: int) -> None:
    give_up = time.monotonic() + _LOAD_SECONDS
    with grpc.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        while True:
            index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), wait_for_ready=True, timeout=60).models
            states = [model.state for model in index]
            if states.count("READY") == count:
                return
            if (failed := [model for model in index if model.reason]) or time.monotonic() > give_up:
                raise SystemExit(f"the pod did not load its models: {failed or states}")
            time.sleep(0.1)

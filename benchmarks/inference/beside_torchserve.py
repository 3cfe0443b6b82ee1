"""Images per second of ResNet-18 through TorchServe's HTTP, in turns with a pod's gRPC, on the same core."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import httpx
import psutil

from benchmarks.inference.pod import Pod
from benchmarks.inference.requests import image_request
from benchmarks.inference.resnet18 import IMAGE
from benchmarks.inference.throughput import CLIENTS, Case, Rates, rates, served_rates, take_turns, unary
from benchmarks.torchserve.server import IMAGES, TorchServe, torchserve


def torchserve_rates(serving: TorchServe, clients: int, seconds: float) -> Rates:
    """Return the rates of some clients, each of which sends an image and waits."""
    image = bytes(4 * math.prod(IMAGE))
    headers = {"Content-Type": "application/octet-stream"}
    with httpx.Client(headers=headers, timeout=60, limits=httpx.Limits(max_connections=clients)) as client:

        def ask() -> int:
            client.post(serving.url, content=image).raise_for_status()
            return 1

        return rates([psutil.Process(serving.process)], ask, clients, seconds)


def measure(pod: Pod, name: str, artifact: Path, rounds: int, seconds: float) -> list[Case]:
    """Measure a pod that serves the artifact under a name, and TorchServe with the same file.

    Raises:
        UnavailableError: TorchServe cannot run on this machine.
    """
    with torchserve(IMAGES, artifact) as serving:
        return [
            take_turns(
                f"{name}, clients: {clients}",
                partial(torchserve_rates, serving, clients, seconds),
                partial(served_rates, pod, unary(image_request(name)), clients, seconds),
                rounds,
            )
            for clients in CLIENTS
        ]

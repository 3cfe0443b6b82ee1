"""The CPU and the GPU of this pod, and how much of them each version gets."""

from __future__ import annotations

import math
import os

from penstock_common.manifest import Manifest
from penstock_inference.engine.device import WEIGHTS, Device, Share
from penstock_inference.runners.cpus import cpu_limit, operator_threads


class PodDevices:
    """The CPU, and the GPU if there is one.

    Args:
        cores: that models may use at a time.
        gpu_runs: that may use the GPU at a time.
        threads: of a version whose manifest does not say.
    """

    def __init__(self, *, cores: int, gpu_runs: int, threads: int) -> None:
        self._cpu = Device(cores)
        self._gpu = Device(gpu_runs)
        self._threads = threads

    def threads(self, manifest: Manifest) -> int:
        """Return the threads of a version: what its manifest or the pod's setting says, the pod's cores at most."""
        return min(manifest.resources.threads or self._threads, self._cpu.slots)

    def share(self, manifest: Manifest, *, on_gpu: bool) -> Share:
        """Return the share of a version whose processes run on the GPU, or on the CPU."""
        weight = WEIGHTS[manifest.resources.priority]
        return self._gpu.share(weight) if on_gpu else self._cpu.share(weight, self.threads(manifest))


def find_devices(*, cores: int, gpu_runs: int, threads: int) -> PodDevices:
    """Return the devices of this container.

    Args:
        cores: that models may use at a time; 0 for all that the container has, a started one included.
        gpu_runs: that may use the GPU at a time, if there is one.
        threads: of a version whose manifest does not say; 0 for as many as the container's limit, 1 if it has none.
    """
    return PodDevices(cores=cores or _cores(), gpu_runs=gpu_runs, threads=operator_threads(threads))


def _cores() -> int:
    bound = len(os.sched_getaffinity(0))
    limit = cpu_limit()
    return bound if limit is None else max(1, min(bound, math.ceil(limit)))

"""The devices of this pod, and how much of them each version gets."""

from __future__ import annotations

import math
import os
from pathlib import Path

from penstock_common.manifest import Format, Manifest
from penstock_inference.engine.device import WEIGHTS, Device, Share

_CGROUP = Path("/sys/fs/cgroup")
#: Formats whose runners use the GPU if there is one.
_GPU_FORMATS = frozenset({Format.TORCH_EXPORT, Format.TORCHSCRIPT, Format.TRANSFORMERS})


class PodDevices:
    """The CPU, and the GPU if there is one.

    Args:
        cores: that models may use at a time.
        gpu_runs: that may use the GPU at a time; 0 if there is none.
        threads: of a version whose manifest does not say.
    """

    def __init__(self, *, cores: int, gpu_runs: int, threads: int) -> None:
        self._cpu = Device(cores)
        self._gpu = Device(gpu_runs) if gpu_runs else None
        self._threads = threads

    def threads(self, manifest: Manifest) -> int:
        """Return the threads of a version: what its manifest or the pod's setting says, the pod's cores at most."""
        return min(manifest.resources.threads or self._threads, self._cpu.slots)

    def share(self, manifest: Manifest) -> Share:
        """Return the share of a version that arrives."""
        weight = WEIGHTS[manifest.resources.priority]
        if self._gpu is not None and manifest.format in _GPU_FORMATS:
            return self._gpu.share(weight)
        return self._cpu.share(weight, self.threads(manifest))


def find_devices(*, cores: int, gpu_runs: int, threads: int) -> PodDevices:
    """Return the devices of this container.

    Args:
        cores: that models may use at a time; 0 for all that there are.
        gpu_runs: that may use the GPU at a time, if there is one.
        threads: of a version whose manifest does not say.
    """
    return PodDevices(cores=cores or available_cores(), gpu_runs=gpu_runs if has_gpu() else 0, threads=threads)


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Return the cores that this process may use: those that it is bound to, or the container's limit if that is less.

    A started core counts (cgroups version 2 or 1, as they are mounted in a container).
    """
    bound = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except OSError:
        try:
            quota, period = [
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            ]
        except OSError:
            return bound
    if quota in ("max", "-1"):
        return bound
    return max(1, min(bound, math.ceil(int(quota) / int(period))))


def has_gpu() -> bool:
    """Return whether the container was given a GPU of NVIDIA."""
    return any(Path("/dev").glob("nvidia[0-9]*"))

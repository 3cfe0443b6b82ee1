"""The files by which a process uses an NVIDIA GPU. The container's runtime puts them into a pod that was given one."""

from __future__ import annotations

from pathlib import Path

#: Present whatever number the GPU has.
_CONTROL = "nvidiactl"
#: What libcuda reads beside the libraries and what every process may.
GPU_SETTINGS = (
    "/usr/local/cuda", "/usr/local/nvidia", "/proc/driver/nvidia", "/proc/devices", "/proc/modules",
    "/sys/bus/pci/devices", "/sys/devices",
)  # fmt: skip


def gpu_devices(folder: Path = Path("/dev")) -> list[Path]:
    """Return the device files of the GPUs and of their driver; none if the pod has no GPU."""
    if not (folder / _CONTROL).exists():
        return []
    return sorted(path for path in folder.glob("nvidia*") if not path.is_dir())


def gpu_name(folder: Path = Path("/proc/driver/nvidia/gpus")) -> str:
    """Return the maker's name of the pod's first GPU, as the driver tells it; ``GPU`` if it does not."""
    for information in sorted(folder.glob("*/information")):
        for line in information.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == "Model":
                return value.strip()
    return "GPU"

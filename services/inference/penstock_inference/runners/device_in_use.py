"""What this process's one model runs on, for the message that it is loaded. It holds for the process, as a GPU does."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

CPU = "cpu"


class DeviceInUse(NamedTuple):
    """A device by its maker's name, or ``cpu``.

    Attributes:
        gpu_bytes: of the GPU's memory that the model's process holds; 0 if that is not known.
    """

    name: str
    gpu_bytes: int


_gpu: list[tuple[str, Callable[[], int]]] = []  # one at most


def use_gpu(name: str, held_bytes: Callable[[], int] = lambda: 0) -> None:
    """Take note that the model runs on a GPU."""
    _gpu[:] = [(name[:100], held_bytes)]


def device_in_use() -> DeviceInUse:
    """Return the device of the model, with what it holds of its memory now."""
    for name, held_bytes in _gpu:
        return DeviceInUse(name, held_bytes())
    return DeviceInUse(CPU, 0)

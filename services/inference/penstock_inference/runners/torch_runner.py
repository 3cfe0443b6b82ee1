"""What the two formats of PyTorch share: the device, the threads, and numpy arrays in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray


def set_up_torch(threads: int) -> torch.device:
    """Set how many threads one operator uses in this process; return the device for models: the GPU if there is one."""
    torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TorchRunner:
    """A function of tensors whose weights are on ``device``; it returns one tensor or a sequence of them."""

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self._function = function
        self._device = device

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            answer = self._function(*[torch.from_numpy(array).to(self._device) for array in batch])
        outputs = [answer] if isinstance(answer, torch.Tensor) else list(answer)
        return [output.cpu().numpy() for output in outputs]

"""What the formats of PyTorch share: the device, the threads, numpy arrays in and out, and what runs change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError

DATATYPES = {
    torch.bool: "BOOL",
    torch.int8: "INT8", torch.int16: "INT16", torch.int32: "INT32", torch.int64: "INT64",
    torch.uint8: "UINT8", torch.uint16: "UINT16", torch.uint32: "UINT32", torch.uint64: "UINT64",
    torch.float16: "FP16", torch.float32: "FP32", torch.float64: "FP64",
}  # fmt: skip


def set_up_torch(threads: int) -> torch.device:
    """Set how many threads one operator uses in this process; return the device for models: the GPU if there is one."""
    torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TorchRunner:
    """A function of tensors.

    Args:
        function: takes a tensor, or None, for each of ``inputs``; returns tensors by name, or one, or a sequence.
        weights: returns the parameters and buffers by name.
        device: of the weights.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[FileTensor],
        weights: Callable[[], dict[str, torch.Tensor]],
        device: torch.device,
    ) -> None:
        self.inputs = inputs
        self._function = function
        self._weights = weights
        self._device = device
        self._loaded = _versions(weights())

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        with torch.inference_mode():
            answer = self._function(
                *[None if array is None else torch.from_numpy(array).to(self._device) for array in inputs]
            )
        if isinstance(answer, dict):
            return {name: _array(name, tensor) for name, tensor in answer.items()}
        outputs = [answer] if isinstance(answer, torch.Tensor) else list(answer)
        return [_array(str(i), tensor) for i, tensor in enumerate(outputs)]

    def changed_state(self) -> list[str]:
        now = _versions(self._weights())
        return [name for name, version in self._loaded.items() if now.get(name) != version]


def _versions(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """PyTorch counts how often a tensor was written in place; one that was replaced lies elsewhere."""
    return {name: (tensor._version, tensor.data_ptr()) for name, tensor in weights.items()}


def _array(name: str, value: Any) -> NDArray[Any]:
    if not isinstance(value, torch.Tensor):
        raise ModelMismatchError(
            f"The file's output {name!r} is a {type(value).__name__}, not a tensor; export a module whose forward returns "
            "a tensor, a tuple of tensors or a dict of tensors."
        )
    if value.dtype not in DATATYPES:
        raise ModelMismatchError(
            f"The file's output {name!r} is of {value.dtype}, which the Open Inference Protocol does not have; "
            "convert it in forward, e.g. with .float()."
        )
    array: NDArray[Any] = value.cpu().numpy()
    return array

"""What the formats of PyTorch share: numpy arrays in and out, options for the GPU, and what runs change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from penstock_common.manifest import Acceleration
from penstock_inference.runners.batch_sizes import FilledBatches
from penstock_inference.runners.cuda_graphs import RecordedFunction
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, Runner
from penstock_inference.runners.torch_arrays import array_of
from penstock_inference.runners.torch_device import TorchDevice

DATATYPES = {
    torch.bool: "BOOL",
    torch.int8: "INT8", torch.int16: "INT16", torch.int32: "INT32", torch.int64: "INT64",
    torch.uint8: "UINT8", torch.uint16: "UINT16", torch.uint32: "UINT32", torch.uint64: "UINT64",
    torch.bfloat16: "BF16", torch.float16: "FP16", torch.float32: "FP32", torch.float64: "FP64",
}  # fmt: skip


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
        device: TorchDevice,
    ) -> None:
        self.inputs = inputs
        self._function = function
        self._weights = weights
        self._device = device
        self._loaded = _versions(weights())

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        with self._device.running():
            answer = self._function(*self._device.put(inputs))
            if isinstance(answer, dict):
                return dict(zip(answer, self._arrays(answer), strict=True))
            tensors = [answer] if isinstance(answer, torch.Tensor) else list(answer)
            return self._arrays({str(i): tensor for i, tensor in enumerate(tensors)})

    def changed_state(self) -> list[str]:
        now = _versions(self._weights())
        return [name for name, version in self._loaded.items() if now.get(name) != version]

    def _arrays(self, answer: dict[str, Any]) -> list[NDArray[Any]]:
        for name, value in answer.items():
            if not isinstance(value, torch.Tensor):
                raise ModelMismatchError(
                    f"The file's output {name!r} is a {type(value).__name__}, not a tensor; export a module whose forward "
                    "returns a tensor, a tuple of tensors or a dict of tensors."
                )
        tensors = self._device.take(list(answer.values()))
        for name, tensor in zip(answer, tensors, strict=True):
            if tensor.dtype not in DATATYPES:
                raise ModelMismatchError(
                    f"The file's output {name!r} is of {tensor.dtype}, which the Open Inference Protocol does not have; "
                    "convert it in forward, e.g. with .float()."
                )
        return [array_of(tensor) for tensor in tensors]


def accelerated(
    function: Callable[..., Any],
    inputs: Sequence[FileTensor],
    weights: Callable[[], dict[str, torch.Tensor]],
    device: TorchDevice,
    options: Acceleration,
) -> Runner:
    """Return a runner of a function with what its manifest allows to make it faster; see ``TorchRunner``."""
    if not device.on_gpu or not options.batch_sizes:
        return TorchRunner(function, inputs, weights, device)
    if options.cuda_graphs:
        function = RecordedFunction(function, options.batch_sizes)
    return FilledBatches(TorchRunner(function, inputs, weights, device), options.batch_sizes)


def _versions(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """PyTorch counts how often a tensor was written in place; one that was replaced lies elsewhere."""
    return {name: (tensor._version, tensor.data_ptr()) for name, tensor in weights.items()}

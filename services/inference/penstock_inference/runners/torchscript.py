"""TorchScript modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from penstock_common.manifest import Manifest
from penstock_inference.runners.runner import FileTensor, ModelMismatchError, Runner
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.torch_runner import accelerated

#: Arguments that are numbers, which a scalar without rows can give.
_NUMBERS = {"int": "INT64", "float": "FP64", "bool": "BOOL"}


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load a ``.pt`` file. Its inputs are the arguments of ``forward``, whose types and shapes it does not have.

    Raises:
        GpuMemoryError: if the GPU has no room for it.
        ModelMismatchError: if an argument without a default is neither a tensor nor a number.
    """
    device = TorchDevice(manifest, path, threads)
    module = torch.jit.load(path, map_location=device.device).eval()
    inputs, others = [], []
    for argument in module.forward.schema.arguments[1:]:
        required = not argument.has_default_value()
        if str(argument.type) in ("Tensor", "Optional[Tensor]"):
            inputs.append(FileTensor(argument.name, required=required))
        elif str(argument.type) in _NUMBERS:
            inputs.append(FileTensor(argument.name, _NUMBERS[str(argument.type)], (), required))
        elif required:
            others.append(f"{argument.name}: {argument.type}")
    if others:
        raise ModelMismatchError(
            f"forward takes {', '.join(others)}; it can take only tensors and numbers. Give these arguments a default."
        )
    return accelerated(_by_name(module, inputs), inputs, lambda: _weights(module), device, manifest.acceleration)


def _by_name(module: torch.jit.ScriptModule, inputs: list[FileTensor]) -> Callable[..., Any]:
    """Return a function of the inputs in their order; one that is None is left out."""
    names = [str(tensor.name) for tensor in inputs]
    numbers = {tensor.name for tensor in inputs if tensor.shape == ()}

    def call(*tensors: torch.Tensor | None) -> Any:
        given = {
            name: tensor.item() if name in numbers else tensor
            for name, tensor in zip(names, tensors, strict=True)
            if tensor is not None
        }
        answer = module(**given)
        return answer._asdict() if hasattr(answer, "_asdict") else answer  # a NamedTuple

    return call


def _weights(module: torch.jit.ScriptModule) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())

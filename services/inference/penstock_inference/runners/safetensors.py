"""Weights in a ``.safetensors`` file, for an architecture of the table that the manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from penstock_common.manifest import Manifest
from penstock_inference.architectures.build import build
from penstock_inference.architectures.mtcnn import Mtcnn
from penstock_inference.runners.face_finder import FaceFinder
from penstock_inference.runners.runner import FileTensor, ModelMismatchError, Runner
from penstock_inference.runners.torch_device import OnDevice, TorchDevice
from penstock_inference.runners.torch_runner import accelerated

#: Of batch normalisation; only training reads it, and older files lack it.
_COUNTER = ".num_batches_tracked"

#: Names of weights that an error lists at most.
_MOST_NAMES = 8


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load a ``.safetensors`` file. Weights of any float type are computed with in FP32.

    Raises:
        GpuMemoryError: the GPU has no room for it.
        ModelMismatchError: listing the weights that are missing, unexpected, or of another shape.
    """
    assert manifest.architecture is not None
    device = TorchDevice(manifest, path, threads)
    built = build(manifest.architecture)
    module = built.module
    weights = load_file(path, device=str(device.device))
    _check_weights(module, weights, manifest.architecture.name)
    module.load_state_dict(weights, assign=True)
    for name, buffer in list(module.named_buffers()):  # a counter that the file lacks
        if buffer.is_meta:
            owner, _, own = name.rpartition(".")
            module.get_submodule(owner).register_buffer(own, torch.zeros_like(buffer, device=device.device))
    module.float().eval().requires_grad_(False)
    if isinstance(module, Mtcnn):
        return OnDevice(device, FaceFinder(module, manifest, device.device))
    inputs = [FileTensor(built.input_name, "FP32", built.input_shape)]
    return accelerated(module, inputs, module.state_dict, device, manifest.acceleration)


def _check_weights(module: nn.Module, weights: dict[str, torch.Tensor], architecture: str) -> None:
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in weights and not name.endswith(_COUNTER)]
    unexpected = [name for name in weights if name not in wanted and not name.endswith(_COUNTER)]
    others = [
        f"{name} {list(weights[name].shape)} and not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems = [
        f"{len(names)} {kind} ({_listed(names)})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", others))
        if names
    ]
    if problems:
        raise ModelMismatchError(
            f"The file's weights are not those of the architecture {architecture}: {'; '.join(problems)}. Correct the "
            "architecture or its parameters, or rename the weights; for another architecture, load them into their module "
            "and save that with torch.export.save."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MOST_NAMES], *["…"] * (len(names) > _MOST_NAMES)])

"""The table of the architectures, which builds the module that a manifest names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from penstock_common.architectures import ARCHITECTURES
from penstock_common.manifest import Architecture
from penstock_common.step_params import read_params
from penstock_inference.architectures.mlp import mlp
from penstock_inference.architectures.mtcnn import Mtcnn
from penstock_inference.architectures.resnet import resnet18, resnet34, resnet50


@dataclass(frozen=True, slots=True)
class Built:
    """A module without weights, on the device ``meta``.

    Attributes:
        input_name, input_shape: what its ``forward`` takes, in FP32; -1 for a dimension that varies. Empty for ``Mtcnn``,
            which has no ``forward``.
    """

    module: nn.Module
    input_name: str = ""
    input_shape: tuple[int, ...] = ()


_BUILDERS: dict[str, Callable[[Any], nn.Module]] = {
    "mlp": mlp,
    "mtcnn": Mtcnn,
    "resnet18": lambda params: resnet18(params.classes),
    "resnet34": lambda params: resnet34(params.classes),
    "resnet50": lambda params: resnet50(params.classes),
}


def build(chosen: Architecture) -> Built:
    """Build an architecture that the manifest's check has accepted."""
    params: Any = read_params("architecture", chosen.name, chosen.params, ARCHITECTURES[chosen.name])
    with torch.device("meta"):
        module = _BUILDERS[chosen.name](params)
    match chosen.name:
        case "mlp":
            return Built(module, "features", (-1, params.sizes[0]))
        case "mtcnn":
            return Built(module)
    return Built(module, "image", (-1, 3, -1, -1))

"""Fully connected layers with an activation between them."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from penstock_common.architectures import MlpParams

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def mlp(params: MlpParams) -> nn.Sequential:
    """Return a network from ``float32 [N, sizes[0]]`` to ``[N, sizes[-1]]``.

    Its weights have the names of ``nn.Sequential(nn.Linear(...), nn.ReLU(), nn.Linear(...))``: ``0.weight``, ``0.bias``,
    ``2.weight`` and so on.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(params.sizes):
        layers += [nn.Linear(before, after), _ACTIVATIONS[params.activation]()]
    return nn.Sequential(*layers[:-1])

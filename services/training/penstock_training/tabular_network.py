"""The networks for rows of a table, which standardise the numbers themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH = 64
_MOST_DIMENSIONS = 8  # of the vector that stands for a category


class _TabularNetwork(nn.Module):
    """``float32 [N, numeric]`` and ``int64 [N, categorical]`` to ``float32 [N, outputs]``.

    Args:
        mean, std: of each number, in the units of the table.
        sizes: how many categories each categorical column has.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, sizes: list[int], outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        dimensions = [min(_MOST_DIMENSIONS, size) for size in sizes]
        self.embeddings = nn.ModuleList([nn.Embedding(*shape) for shape in zip(sizes, dimensions, strict=True)])
        self.layers = nn.Sequential(
            nn.Linear(len(mean) + sum(dimensions), _WIDTH), nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH), nn.ReLU(),
            nn.Linear(_WIDTH, outputs),
        )  # fmt: skip

    def answer(self, numbers: Tensor, indices: Tensor) -> Tensor:
        parts = [(numbers - self.mean) / self.std]
        parts += [table(indices[:, i]) for i, table in enumerate(self.embeddings)]
        return self.layers(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


class TabularRegressor(_TabularNetwork):
    """Gives values ``float32 [N]`` in the units of the table."""

    target: Tensor

    def __init__(self, mean: Tensor, std: Tensor, sizes: list[int], target_mean: float, target_std: float) -> None:
        super().__init__(mean, std, sizes, 1)
        self.register_buffer("target", torch.tensor([target_mean, target_std]))

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        return self.answer(numbers, indices).squeeze(1) * self.target[1] + self.target[0]


class TabularClassifier(_TabularNetwork):
    """Gives probabilities ``float32 [N, outputs]``."""

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        return torch.softmax(self.answer(numbers, indices), dim=1)

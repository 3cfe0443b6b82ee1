"""Training a PyTorch module with mini-batches, and the split before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Progress = Callable[[int, int, float], None]  # epochs done, of, loss


def split(labels: Sequence[Any] | None, rows: int, held_out: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Indices to train on and to hold out, shuffled; each label keeps its share where labels are given."""
    rng = np.random.default_rng(seed)
    if labels is None:
        order = rng.permutation(rows)
        cut = round(rows * held_out)
        return order[cut:], order[:cut]
    array = np.asarray(labels)
    train, test = [], []
    for label in np.unique(array):
        members = rng.permutation(np.flatnonzero(array == label))
        cut = round(len(members) * held_out)
        test.append(members[:cut])
        train.append(members[cut:])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def fit(
    module: nn.Module,
    batch: Callable[[NDArray[Any]], tuple[tuple[Tensor, ...], Tensor]],
    rows: NDArray[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    progress: Progress,
    weight_decay: float = 0.0,
) -> None:
    """AdamW with a one-cycle learning rate.

    Args:
        batch: the module's inputs and the targets of some row indices.
        rows: indices to train on.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps = epochs * -(-len(rows) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    module.train()
    for epoch in range(epochs):
        order = rng.permutation(rows)
        total = 0.0
        for at in range(0, len(order), batch_size):
            inputs, targets = batch(order[at : at + batch_size])
            optimizer.zero_grad()
            value = loss(module(*inputs), targets)
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item() * len(targets)
        progress(epoch + 1, epochs, total / len(order))
    module.eval()

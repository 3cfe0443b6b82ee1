"""Trains a PyTorch module on mini-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Called after each epoch with the number of epochs done, their total number, and the mean loss.
Progress = Callable[[int, int, float], None]


def fit(
    module: nn.Module,
    forward: Callable[..., Tensor],
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
    """Train ``module`` with AdamW and a one-cycle learning rate, and leave it in evaluation mode.

    Args:
        forward: computes what ``loss`` takes from a batch's inputs: the module, or the module without its last layer.
        batch: returns the inputs and the targets of the rows with these indices.
        rows: indices of the rows to train on.
        loss: takes the output of ``forward`` and the targets; averaged over the rows.
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
            value = loss(forward(*inputs), targets)
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item() * len(targets)
        progress(epoch + 1, epochs, total / len(order))
    module.eval()

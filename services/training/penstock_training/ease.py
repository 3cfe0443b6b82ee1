"""EASE: recommendations from the items that people have in common (Steck 2019, arXiv:1905.03375)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri  # type: ignore[import-untyped]
from torch import Tensor, nn


def ease_weights(likes: Any, penalty: float) -> NDArray[np.float32]:
    """Return the weights ``[items, items]`` by which an item that is liked (the row) speaks for others (the columns).

    They are the least squares of each item on all others, in closed form: with ``P`` the inverse of ``X'X + penalty``,
    ``B = -P / diag(P)``, and a diagonal of zeros (equation 8). It takes O(items³) time and O(items²) memory.

    Args:
        likes: ``X``, a sparse matrix ``[people, items]`` of ones.
    """
    gram = (likes.T @ likes).toarray().astype(np.float64, order="F")
    gram[np.diag_indices_from(gram)] += penalty
    factor, failed = dpotrf(gram, lower=0, overwrite_a=1)
    assert not failed  # the penalty makes it positive definite
    upper, failed = dpotri(factor, lower=0, overwrite_c=1)
    assert not failed
    diagonal = np.diag(upper).copy()
    weights: NDArray[np.float32] = np.triu(upper).astype(np.float32)
    weights += np.triu(weights, 1).T
    weights /= -diagonal.astype(np.float32)
    np.fill_diagonal(weights, 0)
    return weights


class ItemToItem(nn.Module):
    """``int64 [N, L]``, positions of items or the number of all items for none, to scores ``float32 [N, items]``.

    An item's score is the sum of what the given items say for it; if none is given that is known, its popularity.

    Args:
        weights: ``[items, items]``.
        popularity: ``[items]``.
    """

    def __init__(self, weights: NDArray[np.float32], popularity: NDArray[np.float32]) -> None:
        super().__init__()
        none = np.zeros((1, len(weights)), np.float32)
        self.weights = nn.Parameter(torch.from_numpy(np.concatenate([weights, none])), requires_grad=False)
        self.popularity = nn.Parameter(torch.from_numpy(popularity), requires_grad=False)

    def forward(self, items: Tensor) -> Tensor:
        # With offsets, since torch.export takes a matrix only if it has two rows at least.
        offsets = torch.arange(items.shape[0], device=items.device) * items.shape[1]
        scores = nn.functional.embedding_bag(items.flatten(), self.weights, offsets, mode="sum")
        known = (items < len(self.popularity)).any(dim=1, keepdim=True)
        return torch.where(known, scores, self.popularity)

"""Classifiers of hashed byte n-grams, from UTF-8 bytes to probabilities in one graph.

Each n-gram of lower-cased bytes is hashed to a bucket that holds its evidence (hashing trick, Weinberger et al. 2009).
The log-odds of a row are the sum of its evidence divided by the square root of its number of n-grams, which makes long
and short texts comparable.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.special import log_softmax  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

ORDERS = (2, 3, 4)
BUCKETS = 1 << 16  # a power of two


class _Ngrams(nn.Module):
    lower: Tensor

    def __init__(self) -> None:
        super().__init__()
        table = torch.arange(256)
        table[65:91] += 32
        self.register_buffer("lower", table)

    def ngrams(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return the buckets ``int64 [N, G]`` of a text's n-grams, and 1 for those that are not padding, ``[N, G]``."""
        codes = self.lower[text.long()]
        hashed = codes
        grams, last = [], []
        for order in range(2, max(ORDERS) + 1):
            hashed = hashed[:, :-1] * 131 + codes[:, order - 1 :]
            if order in ORDERS:
                grams.append(hashed)
                last.append(codes[:, order - 1 :])
        buckets = (torch.cat(grams, dim=1) * 40503 >> 7) & (BUCKETS - 1)
        return buckets, (torch.cat(last, dim=1) > 0).to(torch.float32)


class TwoLabels(_Ngrams):
    """``uint8 [N, L]`` (zero padded UTF-8) to probabilities ``float32 [N, 2]``; the evidence is for the second label."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.evidence = nn.Parameter(torch.zeros(BUCKETS))
        self.bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("shift", torch.zeros(1))

    def log_odds(self, text: Tensor) -> Tensor:
        """Return the log-odds ``float32 [N]`` of the second label before calibration."""
        buckets, real = self.ngrams(text)
        total = (self.evidence[buckets] * real).sum(dim=1)
        return total / real.sum(dim=1).clamp(min=1.0).sqrt() + self.bias

    def forward(self, text: Tensor) -> Tensor:
        second = torch.sigmoid(self.log_odds(text) * self.scale + self.shift)
        return torch.stack([1.0 - second, second], dim=1)

    def calibrate(self, log_odds: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
        """Calibrate by Platt scaling (smoothed targets, Platt 1999) on rows that the model was not trained on."""
        second = truth.sum()
        probability = np.where(truth == 1, (second + 1) / (second + 2), 1 / (len(truth) - second + 2))
        # A target between 0 and 1 becomes two weighted rows, one of each label.
        platt = LogisticRegression(C=np.inf).fit(
            np.tile(log_odds, 2)[:, np.newaxis],
            np.repeat([1, 0], len(truth)),
            sample_weight=np.concatenate([probability, 1 - probability]),
        )
        self.scale.fill_(platt.coef_.item())
        self.shift.fill_(platt.intercept_.item())


def weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return the sums ``[N, C]`` of rows ``[N, G]`` of ``table [R, C]``, each times its weight ``[N, G]``.

    Its offsets are given because those that PyTorch computes for two dimensions do not export for a single row.
    """
    offsets = torch.arange(rows.shape[0], device=rows.device) * rows.shape[1]
    return nn.functional.embedding_bag(rows.flatten(), table, offsets, mode="sum", per_sample_weights=weights.flatten())


class ManyLabels(_Ngrams):
    """``uint8 [N, L]`` (zero padded UTF-8) to probabilities ``float32 [N, labels]``."""

    scale: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.evidence = nn.Parameter(torch.zeros(BUCKETS, labels))
        self.bias = nn.Parameter(torch.zeros(labels))
        self.register_buffer("scale", torch.ones(1))

    def log_odds(self, text: Tensor) -> Tensor:
        """Return unnormalised log-probabilities ``float32 [N, labels]`` before calibration."""
        buckets, real = self.ngrams(text)
        total = weighted_rows(self.evidence, buckets, real)
        return total / real.sum(dim=1, keepdim=True).clamp(min=1.0).sqrt() + self.bias

    def forward(self, text: Tensor) -> Tensor:
        return torch.softmax(self.log_odds(text) * self.scale, dim=1)

    def calibrate(self, log_odds: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
        """Calibrate by temperature scaling (Guo et al. 2017) on rows that the model was not trained on."""
        rows = np.arange(len(truth))

        def loss(logarithm: float) -> float:
            return -float(log_softmax(log_odds * np.exp(logarithm), axis=1)[rows, truth].mean())

        # Few rows may all be right, and would make the model certain of everything.
        self.scale.fill_(float(np.exp(minimize_scalar(loss, bounds=(-3.0, 1.0), method="bounded").x)))

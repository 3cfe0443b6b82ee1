"""Naive Bayes over byte n-grams that an automaton finds, as py3langid's model has it (github.com/adbar/py3langid)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock_training.ngram_classifier import weighted_rows


class NgramAutomaton(nn.Module):
    """``uint8 [N, L]`` (zero padded UTF-8) to probabilities ``float32 [N, labels]``.

    The automaton of Aho and Corasick steps from state to state with each byte, and a state may say that an n-gram ends
    there. Its state depends only on as many bytes as the longest n-gram has, so the states at all positions are found
    at once: from the root, in that many steps.

    Args:
        steps: ``[rows, 256]``, the next state for each byte; states share rows. A zero leads from the root to the root.
        row_of: ``[states]``, the row of each state; the root is state 0.
        ngram_of: ``[states]``, the n-gram that ends there, or -1.
        weights: ``[ngrams, classes]``, log-probabilities.
        prior: ``[classes]``.
        label_of: ``[classes]``, the position of each class's label; the probabilities of one label are added up.
    """

    steps: Tensor
    base: Tensor
    ngram_of: Tensor
    weights: Tensor
    prior: Tensor
    labels: Tensor

    def __init__(
        self,
        steps: NDArray[np.integer],
        row_of: NDArray[np.integer],
        ngram_of: NDArray[np.integer],
        weights: NDArray[np.floating],
        prior: NDArray[np.floating],
        label_of: NDArray[np.integer],
    ) -> None:
        super().__init__()
        self.longest = _longest(steps, row_of)
        self.register_buffer("steps", torch.from_numpy(steps.astype(np.int32).reshape(-1)))
        self.register_buffer("base", torch.from_numpy(row_of.astype(np.int32) * 256))
        self.register_buffer("ngram_of", torch.from_numpy(ngram_of.astype(np.int64)))
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))
        self.register_buffer("prior", torch.from_numpy(prior.astype(np.float32)))
        labels = np.zeros((len(label_of), label_of.max() + 1), np.float32)
        labels[np.arange(len(label_of)), label_of] = 1
        self.register_buffer("labels", torch.from_numpy(labels))

    def forward(self, text: Tensor) -> Tensor:
        positions = torch.arange(text.shape[1], device=text.device)
        length = ((text > 0) * (positions + 1)).amax(dim=1, keepdim=True)
        ngrams = self.ngram_of[self._states(text)]
        found = (ngrams >= 0) & (positions < length)
        ngrams = ngrams.clamp(min=0)
        counts = torch.zeros(text.shape[0], len(self.weights), device=text.device)
        counts = counts.scatter_add(1, ngrams, found.to(counts.dtype))
        # An n-gram that occurs c times counts log(1 + c), which its occurrences share.
        count = counts.gather(1, ngrams)
        shares = torch.where(found, torch.log1p(count) / count.clamp(min=1), 0.0)
        total = weighted_rows(self.weights, ngrams, shares)
        score = torch.where(found.any(dim=1, keepdim=True), total + self.prior, 0.0)
        # The temperature of py3langid, with which confidence does not depend on the length of a text.
        probabilities = torch.softmax(score / length.clamp(min=1).sqrt(), dim=1)
        return probabilities @ self.labels

    def _states(self, text: Tensor) -> Tensor:
        """Return the state after each byte, ``int64 [N, L]``; zeros before a text lead nowhere."""
        padded = nn.functional.pad(text, (self.longest - 1, 0)).to(torch.int32)
        state = torch.zeros_like(text, dtype=torch.int64)
        for step in range(self.longest):
            state = self.steps[(self.base[state] + padded[:, step : step + text.shape[1]]).long()].long()
        return state


def _longest(steps: NDArray[np.integer], row_of: NDArray[np.integer]) -> int:
    """Return the length of the longest n-gram: how many bytes it takes at least to the farthest state."""
    seen = np.zeros(len(row_of), bool)
    seen[0] = True
    front, depth = np.array([0]), 0
    while True:
        reached = np.unique(steps[row_of[front]])
        front = reached[~seen[reached]]
        if not len(front):
            return depth
        seen[front] = True
        depth += 1

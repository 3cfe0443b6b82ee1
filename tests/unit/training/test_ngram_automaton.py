"""The classifier of n-grams that an automaton finds, with one that is small enough to compute by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from penstock_training.recipes.ngram_automaton import NgramAutomaton

A, B = ord("a"), ord("b")
WEIGHTS = np.array([[1.0, 0.0, 0.5], [0.0, 2.0, 0.5]])
PRIOR = np.array([0.1, 0.2, 0.3])


@pytest.fixture
def automaton() -> NgramAutomaton:
    """It finds "ab" and "b" that is not after "a"; its three classes have two labels."""
    steps = np.zeros((2, 256), np.int64)
    steps[:, A] = 1  # the state after "a"
    steps[0, B], steps[1, B] = 3, 2
    row_of = np.array([0, 1, 0, 0])
    return NgramAutomaton(steps, row_of, np.array([-1, -1, 0, 1]), WEIGHTS, PRIOR, np.array([0, 1, 0])).eval()


def padded(*texts: bytes) -> torch.Tensor:
    width = max(map(len, texts))
    return torch.frombuffer(bytearray(b"".join(t.ljust(width, b"\0") for t in texts)), dtype=torch.uint8).reshape(
        -1, width
    )


def wanted(counts: list[int], length: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    scores = (np.log1p(counts) @ WEIGHTS + PRIOR if any(counts) else np.zeros(3)) / np.sqrt(max(1, length))
    probabilities = np.exp(scores) / np.exp(scores).sum()
    return np.array([probabilities[0] + probabilities[2], probabilities[1]])


def test_an_ngram_counts_by_its_logarithm(automaton: NgramAutomaton) -> None:
    """Wherever it is, in rows of any length; probabilities of one label are added up."""
    texts = {
        b"ab": [1, 0],
        b"abxabab": [3, 0],
        b"bxab": [1, 1],
        b"bbbbbbbb": [0, 8],
        b"aab": [1, 0],
        b"xyz": [0, 0],
        b"": [0, 0],
    }
    answers = automaton(padded(*texts)).numpy()
    for answer, (text, counts) in zip(answers, texts.items(), strict=True):
        assert answer == pytest.approx(wanted(counts, len(text)), abs=1e-6), text


def test_a_row_alone_has_the_same_answer(automaton: NgramAutomaton) -> None:
    """Padding finds nothing and does not count as length."""
    batch = automaton(padded(b"ab", b"b" * 40))
    assert torch.allclose(batch[:1], automaton(padded(b"ab")))


def test_the_longest_ngram_is_found(automaton: NgramAutomaton) -> None:
    """It is how many bytes lead to the farthest state."""
    assert automaton.longest == 2

"""How good the answers to the samples are, in a few words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.services.samples import Sample
from tests.models.test_transcription import word_errors

#: Two boxes whose corners are so many pixels apart at most are the same.
_SAME_BOX = 1.0


def same_texts(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return how many texts are those of the library alone."""
    same = sum(answer == reference for answer, reference in zip(answers, own, strict=True))
    return f"{same} of {len(own)} texts"


def least_cosine(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return the least similarity of a vector and the loop's of the same text; all have length 1."""
    cosines = (np.array(answers) * np.array(own)).sum(1)
    return f"cosine {cosines.min():.4f}"


def word_error_rate(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return the mean of the sentences' word error rates."""
    rates = [word_errors(sample.truth, answer) for sample, answer in zip(samples, answers, strict=True)]
    return f"word errors {np.mean(rates):.3f}"


def exact_lines(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return how many lines were read without an error, spaces included."""
    right = sum((Counter(s.truth) & Counter(answer)).total() for s, answer in zip(samples, answers, strict=True))
    return f"{right} of {sum(len(sample.truth) for sample in samples)} lines"


def same_faces(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return how many of the package's faces were found, and how many others."""
    missing = sum(len(_without(theirs, mine)) for mine, theirs in zip(answers, own, strict=True))
    others = sum(len(_without(mine, theirs)) for mine, theirs in zip(answers, own, strict=True))
    faces = sum(map(len, own))
    return f"{faces - missing} of {faces} faces" + (f", {others} not theirs" if others else "")


def _without(boxes: list[list[float]], others: list[list[float]]) -> list[list[float]]:
    return [box for box in boxes if not any(np.abs(np.subtract(box, o)).max() <= _SAME_BOX for o in others)]


def entity_f1(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return F1 of the entities, each of which is right if text and label are."""
    right = wanted = found = 0
    for sample, answer in zip(samples, answers, strict=True):
        truth, answered = Counter(map(tuple, sample.truth)), Counter(map(tuple, answer))
        right += (truth & answered).total()
        wanted += truth.total()
        found += answered.total()
    return f"F1 {2 * right / (wanted + found):.3f}"


def top_1(samples: list[Sample], answers: list[Any], own: list[Any]) -> str:
    """Return how many pictures got a right label."""
    right = sum(answer in sample.truth for sample, answer in zip(samples, answers, strict=True))
    return f"{right} of {len(samples)} pictures"

"""The labels of a classification by their scores."""

from __future__ import annotations

import numpy as np

from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.signature.answer_tensors import answer_array, check_finite
from penstock_gateway.signature.presenter import top_labels

_DIGITS = 6


def scored_labels(answer: Answer, top: float | None) -> list[list[tuple[str, float]]]:
    """The likeliest labels of each row with their probabilities, the best first.

    Args:
        top: how many, a whole number; as many as ``/v1/models/{model}/predict`` answers if it is None.

    Raises:
        PenstockError: 500 ``bad-model-answer``.
    """
    manifest = answer.servable.signature.manifest
    output = manifest.outputs[0]
    array = answer_array(answer.outputs, 0, output, answer.rows.count, answer.servable.model)
    check_finite(array, output.name, answer.servable.model)
    most = int(top or top_labels(manifest) or len(manifest.labels))
    best = np.argsort(-array, axis=1, kind="stable")[:, :most]
    return [
        [(manifest.labels[i], round(float(row[i]), _DIGITS)) for i in order]
        for row, order in zip(array, best, strict=True)
    ]

"""Triton's classification extension: the likeliest classes of each row as ``value:index[:label]`` texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def classify(array: NDArray[Any], classes: int, labels: Sequence[str]) -> NDArray[Any]:
    """BYTES of shape ``[rows, k]``, the largest value first.

    Args:
        array: finite numbers, the rows first; a row of several dimensions counts as one list.
        classes: how many are wanted; k is less if a row has fewer values.
        labels: of the classes by index; there may be none, or too few.
    """
    rows = array.reshape(len(array), -1)
    k = min(classes, rows.shape[1])
    # Of equal values the first comes first.
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :k]
    texts = np.empty((len(rows), k), dtype=np.object_)
    for i, indices in enumerate(order.tolist()):
        for j, index in enumerate(indices):
            label = f":{labels[index]}" if index < len(labels) else ""
            texts[i, j] = f"{rows[i, index]!s}:{index}{label}".encode()
    return texts

"""Non-maximum suppression: of boxes that overlap, the one with the best score stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def suppress(boxes: NDArray[Any], classes: NDArray[Any], overlap: float, most: int) -> list[int]:
    """Return the positions of the boxes that stay, ``most`` at most.

    The work is that of ``most`` passes over all boxes.

    Args:
        boxes: ``[N, 4]``, left, top, right and bottom; the best score first.
        classes: ``[N]``; boxes of different classes do not suppress each other.
        overlap: the intersection over union above which the worse box goes.
    """
    left, top, right, bottom = boxes.T
    areas = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    alive = np.ones(len(boxes), np.bool_)
    kept: list[int] = []
    while len(kept) < most and alive.any():
        best = int(alive.argmax())
        kept.append(best)
        width = np.maximum(np.minimum(right, right[best]) - np.maximum(left, left[best]), 0)
        height = np.maximum(np.minimum(bottom, bottom[best]) - np.maximum(top, top[best]), 0)
        common = width * height
        union = areas + areas[best] - common
        alive &= (classes != classes[best]) | (common <= overlap * union)
        alive[best] = False
    return kept

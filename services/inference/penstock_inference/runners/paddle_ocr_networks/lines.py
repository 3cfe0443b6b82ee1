"""The lines of a page: their order, and their pixels cut out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from penstock_inference.runners.paddle_ocr_networks.detection import Corners
from penstock_inference.runners.paddle_ocr_networks.network import Pixels

#: Lines whose upper left corners differ less in height, in pixels of the page, are beside each other.
_SAME_HEIGHT = 10
#: A line that is so many times as high as wide runs from top to bottom, and is turned.
_UPRIGHT = 1.5


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page, before it is cut out.

    Attributes:
        width, height: of the piece that is cut out, as the text runs.
    """

    corners: Corners
    width: int
    height: int

    @property
    def proportion(self) -> float:
        """How many times as wide as high the line is once it is cut out, and turned if need be."""
        return self.height / self.width if self._is_upright else self.width / self.height

    @property
    def _is_upright(self) -> bool:
        return self.height / self.width >= _UPRIGHT

    def cut_out(self, page: Pixels) -> Pixels:
        """Return the line's pixels, straightened, the text from left to right."""
        inside = np.array([[0, 0], [self.width, 0], [self.width, self.height], [0, self.height]], np.float32)
        matrix = cv2.getPerspectiveTransform(self.corners, inside)
        piece = cv2.warpPerspective(
            page, matrix, (self.width, self.height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC
        )
        return np.ascontiguousarray(np.rot90(piece)) if self._is_upright else piece


def line_of(corners: Corners) -> Line:
    """Return the line within four corners."""
    upper_left, upper_right, lower_right, lower_left = corners
    width = max(np.linalg.norm(upper_left - upper_right), np.linalg.norm(lower_right - lower_left))
    height = max(np.linalg.norm(upper_left - lower_left), np.linalg.norm(upper_right - lower_right))
    return Line(corners, int(width), int(height))


def in_reading_order(lines: Sequence[Corners]) -> list[Corners]:
    """Return lines from top to bottom, and those that are beside each other from left to right."""
    ordered = sorted(lines, key=lambda corners: (corners[0, 1], corners[0, 0]))
    for last in range(1, len(ordered)):
        for i in range(last, 0, -1):
            before, after = ordered[i - 1], ordered[i]
            if abs(after[0, 1] - before[0, 1]) >= _SAME_HEIGHT or after[0, 0] >= before[0, 0]:
                break
            ordered[i - 1], ordered[i] = after, before
    return ordered

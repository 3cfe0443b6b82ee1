"""Finds the lines of a page: the network marks the inner pixels of lines, and each spot of them becomes a rectangle.

The steps and thresholds are those of rapidocr-onnxruntime (github.com/RapidAI/RapidOCR, Apache-2.0), which has them from
PaddleOCR; the network is that of "Real-time Scene Text Detection with Differentiable Binarization" (arXiv:1911.08947).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pyclipper
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_inference.runners.paddle_ocr_networks.network import Network, Pixels, resized

#: The corners of a rectangle, ``float32 [4, 2]``: upper left, upper right, lower right, lower left.
Corners = NDArray[Any]

#: Spots that are looked at, and so lines at most.
MOST_LINES = 1000
#: The shorter side of the network's image at least; both sides are multiples of ``_STEP``.
_SHORTEST = 736
_STEP = 32
#: The probability from which a pixel belongs to a line, and the mean of a rectangle from which it is one.
_PIXEL, _LINE = 0.3, 0.5
#: Sides, in pixels of the network's image: of a spot, and of its rectangle once that is widened.
_SMALLEST_SPOT, _SMALLEST_WIDENED = 3, 5
#: Sides above which a rectangle is kept, in pixels of the page.
_SMALLEST_LINE = 3
#: A rectangle is widened on all sides by its area over its perimeter, so many times: D' = A' r' / L' of the paper.
_WIDENING = 1.6


class LineFinder:
    """Finds lines in pages."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def find(self, page: Pixels) -> list[Corners]:
        """Return the corners of each line in whole pixels of the page, in no order.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if the network does not give a probability for each pixel.
        """
        height, width = page.shape[:2]
        ratio = max(1.0, _SHORTEST / min(height, width))
        across, down = (round(int(side * ratio) / _STEP) * _STEP for side in (width, height))
        answer = self._network.run(resized(page, across, down)[np.newaxis])
        if answer.dtype != np.float32 or answer.shape[:2] != (1, 1) or answer.ndim != 4:
            raise bad_model_answer(
                f"{answer.dtype} {answer.shape} for a picture; the network gives float32 (1, 1, h, w)"
            )
        marked = answer[0, 0]
        found = [_in_page(corners, marked.shape, (height, width)) for corners in _rectangles(marked)]
        return [corners for corners in found if min(_sides(corners)) > _SMALLEST_LINE]


def _rectangles(marked: NDArray[np.float32]) -> list[Corners]:
    """Return the rectangles of lines in pixels of the network's image."""
    spots = cv2.dilate((marked > _PIXEL).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(spots, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours[:MOST_LINES]:
        corners, side = _smallest_rectangle(contour)
        if side < _SMALLEST_SPOT or _mean_within(marked, corners) < _LINE:
            continue
        corners, side = _smallest_rectangle(_widened(corners))
        if side >= _SMALLEST_WIDENED:
            found.append(corners)
    return found


def _smallest_rectangle(points: NDArray[Any]) -> tuple[Corners, float]:
    """Return the corners of the smallest rectangle around points, and its shorter side."""
    rectangle = cv2.minAreaRect(points)
    return _ordered(cv2.boxPoints(rectangle)), min(rectangle[1])


def _ordered(corners: NDArray[Any]) -> Corners:
    """Return corners in the order of ``Corners``; the two with the least x are the left ones."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    upper_left, lower_left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    upper_right, lower_right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array([upper_left, upper_right, lower_right, lower_left], np.float32)


def _mean_within(marked: NDArray[np.float32], corners: Corners) -> float:
    """Return the mean of the pixels within a rectangle."""
    height, width = marked.shape
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    mask = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(mask, [(corners - (left, top)).astype(np.int32)], 1)
    return float(cv2.mean(marked[top : bottom + 1, left : right + 1], mask)[0])


def _widened(corners: Corners) -> NDArray[np.int32]:
    """Return the outline of a rectangle moved outwards, with round corners."""
    area = cv2.contourArea(corners)
    outline = pyclipper.PyclipperOffset()
    outline.AddPath(corners.tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    moved = outline.Execute(area * _WIDENING / cv2.arcLength(corners, closed=True))
    return np.array([point for path in moved for point in path] or corners, np.int32)


def _in_page(corners: Corners, marked: tuple[int, ...], page: tuple[int, int]) -> Corners:
    """Return corners in whole pixels of the page, within it, given the heights and widths of both images."""
    places = corners / np.array(marked[::-1], np.float32) * np.array(page[::-1], np.float32)
    return _ordered(np.clip(np.round(places), 0, (page[1] - 1, page[0] - 1)))


def _sides(corners: Corners) -> tuple[int, int]:
    """Return the whole pixels of the upper and the left side."""
    upper_left, upper_right, _, lower_left = corners
    return int(np.linalg.norm(upper_left - upper_right)), int(np.linalg.norm(upper_left - lower_left))

"""A picture as the networks look at it: in a size and in proportions that they can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penstock_inference.runners.paddle_ocr_networks.network import Pixels

_LONGEST, _SHORTEST = 2000, 30
#: A picture with a side more times as long as the other gets black edges, so that it is at most half as many times as long.
_MOST_TIMES = 8
#: Sides that are resized become multiples of this.
_STEP = 32


@dataclass(frozen=True, slots=True)
class Page:
    """A picture that was resized if it was very large or very small, and then got edges.

    Attributes:
        left, top: pixels of the edges.
        across, down: pixels of the picture that one of the page is.
        width, height: of the picture.
    """

    pixels: Pixels
    left: int
    top: int
    across: float
    down: float
    width: int
    height: int

    def in_picture(self, corners: NDArray[Any]) -> NDArray[np.float64]:
        """Return places ``[..., 2]`` of the page in pixels of the picture, within it."""
        places = (corners - (self.left, self.top)) * (self.across, self.down)
        return np.clip(places, 0, (self.width, self.height))


def page_of(picture: Image.Image) -> Page:
    """Return the page of a picture in RGB."""
    pixels: Pixels = np.asarray(picture)
    if max(pixels.shape[:2]) > _LONGEST:
        pixels = _scaled(pixels, _LONGEST / max(pixels.shape[:2]))
    if min(pixels.shape[:2]) < _SHORTEST:
        pixels = _scaled(pixels, _SHORTEST / min(pixels.shape[:2]))
    height, width = pixels.shape[:2]
    top = _edge(height, width) if height <= _SHORTEST or width > _MOST_TIMES * height else 0
    left = _edge(width, height) if height > _MOST_TIMES * width else 0
    across, down = picture.width / width, picture.height / height
    pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if left or top:
        pixels = cv2.copyMakeBorder(pixels, top, top, left, left, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return Page(pixels, left, top, across, down, picture.width, picture.height)


def _scaled(pixels: Pixels, ratio: float) -> Pixels:
    height, width = (max(_STEP, round(int(side * ratio) / _STEP) * _STEP) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height))


def _edge(side: int, other: int) -> int:
    """Return the pixels that a side needs at each end beside the other one."""
    return (max(other // _MOST_TIMES, _SHORTEST) * 2 - side) // 2

"""The boxes of MTCNN: ``[N, 4]``, left, top, right and bottom in pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from penstock_common.postprocessing.suppression import suppress


def windows(edges: Tensor, face: Tensor, scale: float, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes, scores ``[N]`` and corrections ``[N, 4]`` of the windows in which P-Net sees a face.

    Args:
        edges, face: of one image, ``[4, y, x]`` and ``[y, x]``.
        scale: of the image that P-Net was given.
    """
    seen = face >= threshold
    corner = seen.nonzero().flip(1).float()
    boxes = torch.cat([((2 * corner + 1) / scale).floor(), ((2 * corner + 12) / scale).floor()], dim=1)
    return boxes, face[seen], edges[:, seen].T


def best(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    """Return the positions of at most ``most`` boxes that no better one overlaps by more than ``overlap``, the best first."""
    order = scores.argsort(stable=True, descending=True)
    kept = suppress(boxes[order].numpy(), np.zeros(len(order)), overlap, most)
    return order[kept]


def not_within_better(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Do the same with what two boxes share as a part of the smaller one; sides count their last pixel."""
    left, top, right, bottom = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    left_over = scores.argsort(stable=True, descending=True)
    kept = []
    while len(left_over):
        first, left_over = left_over[0], left_over[1:]
        kept.append(first)
        width = torch.minimum(right[first], right[left_over]) - torch.maximum(left[first], left[left_over]) + 1
        height = torch.minimum(bottom[first], bottom[left_over]) - torch.maximum(top[first], top[left_over]) + 1
        shared = width.clamp(min=0) * height.clamp(min=0)
        left_over = left_over[shared <= overlap * torch.minimum(areas[first], areas[left_over])]
    return torch.stack(kept) if kept else left_over


def corrected(boxes: Tensor, corrections: Tensor, last_pixel: int) -> Tensor:
    """Move each edge by its correction, a part of the box's side.

    Args:
        last_pixel: 1 if the last pixel belongs to a side, and else 0.
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + last_pixel).repeat(1, 2)
    return boxes + corrections * sides


def squared(boxes: Tensor) -> Tensor:
    """Widen the shorter side of each box to the longer one, around its middle."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.amax(dim=1, keepdim=True)
    start = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return torch.cat([start, start + longer], dim=1)


def pixels_of(boxes: Tensor, width: int, height: int) -> Tensor:
    """Return the first column and row of each box and those after its last, whole numbers ``[N, 4]`` within the image."""
    first = boxes[:, :2].trunc().int().clamp(min=1) - 1
    after = boxes[:, 2:].trunc().int().minimum(torch.tensor([width, height], dtype=torch.int32))
    return torch.cat([first, after], dim=1)

"""MTCNN's search for faces (arXiv:1604.02878), with the thresholds and formulas of facenet-pytorch's ``detect_face``
(github.com/timesler/facenet-pytorch, MIT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from penstock_inference.architectures.face_boxes import (
    best,
    corrected,
    not_within_better,
    pixels_of,
    squared,
    windows,
)
from penstock_inference.architectures.mtcnn import Mtcnn

#: The probabilities from which each network calls a window a face.
_P_NET, _R_NET, _O_NET = 0.6, 0.7, 0.7
#: From one size of the image to the next; areas halve.
_FACTOR = 0.709
#: The side of P-Net's windows.
_WINDOW = 12
#: How much windows of one size may overlap, and those of several.
_SAME_SIZE, _ANY_SIZE = 0.5, 0.7
#: Windows that are looked at, the best ones: of one size by P-Net, of all sizes by R-Net, then by O-Net.
_MOST_WINDOWS, _MOST_CANDIDATES, _MOST_FACES = 10_000, 5_000, 1_000
_BATCH = 512


class Faces(NamedTuple):
    """What was found in an image, the best score first; in pixels.

    Attributes:
        boxes: ``[N, 4]``, left, top, right, bottom.
        scores: ``[N]``, 0 to 1.
        points: ``[N, 5, 2]``, across and down: left eye, right eye, nose, left and right corner of the mouth; left is
            that of the image.
    """

    boxes: Tensor
    scores: Tensor
    points: Tensor


class FaceSearch:
    """Runs the three networks: P-Net proposes windows, R-Net drops most of them, and O-Net places faces in the rest.

    Args:
        network: with its weights, on the device.
        tell_progress: called between the steps of a search.
    """

    def __init__(self, network: Mtcnn, device: torch.device, tell_progress: Callable[[], None]) -> None:
        self._network = network
        self._device = device
        self._tell_progress = tell_progress

    def find(self, pixels: Tensor) -> Faces:
        """Return the faces in an image.

        Args:
            pixels: ``uint8 [height, width, 3]``, RGB.
        """
        image = pixels.to(self._device).permute(2, 0, 1)[None].float()
        boxes = self._proposed(image)
        boxes = self._refined(image, boxes)
        return self._placed(image, boxes)

    def _proposed(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        found = [(torch.empty(0, 4), torch.empty(0), torch.empty(0, 4))]
        for scale in _scales(min(height, width), self._network.smallest_face):
            answer = self._network.pnet(_scaled(image, int(height * scale + 1), int(width * scale + 1)))
            edges, face = answer["edges"][0].float().cpu(), answer["face"][0, 1].float().cpu()
            boxes, scores, corrections = windows(edges, face, scale, _P_NET)
            kept = scores.argsort(stable=True, descending=True)[:_MOST_WINDOWS]
            kept = kept[best(boxes[kept], scores[kept], _SAME_SIZE, _MOST_WINDOWS)]
            found.append((boxes[kept], scores[kept], corrections[kept]))
            self._tell_progress()
        boxes, scores, corrections = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = best(boxes, scores, _ANY_SIZE, _MOST_CANDIDATES)
        return squared(corrected(boxes[kept], corrections[kept], 0))

    def _refined(self, image: Tensor, boxes: Tensor) -> Tensor:
        boxes, answer = self._looked_at(self._network.rnet, image, boxes, 24)
        kept = answer["face"][:, 1] > _R_NET
        boxes, scores, corrections = boxes[kept], answer["face"][kept, 1], answer["edges"][kept]
        kept = best(boxes, scores, _ANY_SIZE, _MOST_FACES)
        return squared(corrected(boxes[kept], corrections[kept], 1))

    def _placed(self, image: Tensor, boxes: Tensor) -> Faces:
        boxes, answer = self._looked_at(self._network.onet, image, boxes, 48)
        kept = answer["face"][:, 1] > _O_NET
        boxes, scores = boxes[kept], answer["face"][kept, 1]
        sides = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        points = answer["points"][kept].reshape(-1, 2, 5).transpose(1, 2) * sides + boxes[:, None, :2] - 1
        boxes = corrected(boxes, answer["edges"][kept], 1)
        kept = not_within_better(boxes, scores, _ANY_SIZE)
        return Faces(boxes[kept], scores[kept], points[kept])

    def _looked_at(
        self, network: nn.Module, image: Tensor, boxes: Tensor, side: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the boxes that have pixels of the image, and what a network says of these, scaled to ``side``."""
        height, width = image.shape[2:]
        pixels = pixels_of(boxes, width, height)
        inside = (pixels[:, 2:] > pixels[:, :2]).all(dim=1)
        boxes, places = boxes[inside], pixels[inside].tolist()
        answers = []
        for start in range(0, max(1, len(places)), _BATCH):
            cut = [
                _scaled(image[:, :, top:bottom, left:right], side, side)
                for left, top, right, bottom in places[start : start + _BATCH]
            ]
            batch = torch.cat(cut) if cut else image.new_empty(0, 3, side, side)
            answers.append(network(batch))
            self._tell_progress()
        return boxes, {name: torch.cat([answer[name] for answer in answers]).float().cpu() for name in answers[0]}


def _scales(shorter: int, smallest_face: int) -> Iterator[float]:
    """Yield the scales at which faces of every size, from the smallest one on, are as large as P-Net's window."""
    scale = _WINDOW / smallest_face
    side = shorter * scale
    while side >= _WINDOW:
        yield scale
        scale *= _FACTOR
        side *= _FACTOR


def _scaled(image: Tensor, height: int, width: int) -> Tensor:
    """Return an image in another size, each pixel the mean of an area, as the networks take it."""
    return (interpolate(image, size=(height, width), mode="area") - 127.5) * 0.0078125

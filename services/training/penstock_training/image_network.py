"""A small convolutional network for pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTHS = (32, 64, 96, 128, 128)  # channels after each halving
_LAST_SIDE = 4
#: Sides of the pictures that the network takes: powers of two.
SIDES = [_LAST_SIDE << halvings for halvings in range(1, len(_WIDTHS) + 1)]


class ImageNetwork(nn.Module):
    """``float32 [N, channels, side, side]``, 0 to 1, to probabilities ``float32 [N, labels]``.

    Two convolutions before each halving, which are repeated down to 4 by 4.
    """

    def __init__(self, channels: int, side: int, labels: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for stage, width in enumerate(_WIDTHS[: SIDES.index(side) + 1]):
            stages += [*_convolution(channels, width, stage), *_convolution(width, width, stage), nn.MaxPool2d(2)]
            channels = width
        self.layers = nn.Sequential(
            *stages, nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * _LAST_SIDE * _LAST_SIDE, labels)
        )

    def logits(self, image: Tensor) -> Tensor:
        return self.layers(image)  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.logits(image), dim=1)


def _convolution(before: int, after: int, stage: int) -> list[nn.Module]:
    """Return a convolution; those of a deep network are normalised, without which it would not learn."""
    normalised = stage > 0
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=not normalised)
    return [convolution, *([nn.BatchNorm2d(after)] if normalised else []), nn.ReLU()]

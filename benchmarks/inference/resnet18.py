"""ResNet-18 (arXiv:1512.03385) in plain PyTorch with random weights, and its artifacts."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from penstock_common.manifest import MANIFEST_FILE

FILES = {"torch-export": "model.pt2", "onnx": "model.onnx"}
IMAGE = (3, 224, 224)

_MANIFEST = """\
format: {format}
file: {file}
task: tensor
inputs: [{{name: image, kind: tensor, datatype: FP32, shape: [3, 224, 224]}}]
outputs: [{{name: logits, datatype: FP32, shape: [1000]}}]
batching: {{max_batch_size: {max_batch_size}}}
"""


def _convolution(before: int, after: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after))


class _Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, 3, stride)
        self.second = _convolution(after, after, 3, 1)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """Takes ``float32 [N, 3, 224, 224]``; gives ``float32 [N, 1000]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks = []
        before = 64
        for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [_Block(before, after, stride), _Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.classify = nn.Linear(512, 1000)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.blocks(self.stem(image)).mean((2, 3)))
        return logits


def network() -> ResNet18:
    """Return the network with the same weights in every process."""
    torch.manual_seed(0)
    return ResNet18().eval()


def write_artifact(folder: Path, file_format: str, max_batch_size: int) -> Path:
    """Write the file and the manifest of one format, ``torch-export`` or ``onnx``; return the folder."""
    folder.mkdir(parents=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it says that there is no torchvision
    file = folder / FILES[file_format]
    example = (torch.zeros(2, *IMAGE),)
    rows = {0: torch.export.Dim("rows", min=1, max=4096)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file_format == "torch-export":
            torch.export.save(torch.export.export(network(), example, dynamic_shapes=(rows,)), file)
        else:
            torch.onnx.export(
                network(),
                example,
                str(file),
                dynamo=True,
                dynamic_shapes=(rows,),
                input_names=["image"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    manifest = _MANIFEST.format(format=file_format, file=file.name, max_batch_size=max_batch_size)
    (folder / MANIFEST_FILE).write_text(manifest)
    return folder

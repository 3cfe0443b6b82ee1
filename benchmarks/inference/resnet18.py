"""ResNet-18 with random weights, and its artifacts."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch

from penstock_common.manifest import MANIFEST_FILE
from penstock_inference.architectures.resnet import ResNet, resnet18

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


def network() -> ResNet:
    """Return the network with the same weights in every process."""
    torch.manual_seed(0)
    return resnet18().eval()


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

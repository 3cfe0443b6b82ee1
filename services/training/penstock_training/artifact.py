"""Saves a trained module as an artifact: the model's file and its ``model.yaml``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penstock_common.manifest import Format, Manifest
from penstock_training.manifest_file import write_manifest

FILES = {Format.TORCH_EXPORT: "model.pt2", Format.TORCHSCRIPT: "model.pt", Format.ONNX: "model.onnx"}


def save(
    folder: Path,
    module: nn.Module,
    manifest: Manifest,
    example: tuple[Tensor, ...],
    dynamic: tuple[dict[int, Any], ...],
) -> None:
    """Write ``module`` in the format that the manifest names, and the manifest itself.

    Args:
        example: positional inputs of at least two rows.
        dynamic: which dimensions of each input vary, in the form that ``torch.export`` takes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module.eval()
    path = folder / manifest.file
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if manifest.format is Format.TORCH_EXPORT:
            torch.export.save(torch.export.export(module, example, dynamic_shapes=dynamic), path)
        elif manifest.format is Format.TORCHSCRIPT:
            torch.jit.trace(module, example).save(str(path))
        else:
            torch.onnx.export(
                module, example, str(path), dynamic_shapes=dynamic, dynamo=True, external_data=False, verbose=False
            )
    write_manifest(folder, manifest)

"""The table of the formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from penstock_common.manifest import Format
from penstock_inference.runners.runner import Runner


def import_format(format_: Format) -> Callable[[Path, int], Runner]:
    """Import the module of a format, and with it the framework; return its ``load(path, threads)``.

    The imports are here and not at the top, so that a pod holds only the frameworks of the models it serves.
    """
    match format_:
        case Format.TORCH_EXPORT:
            from penstock_inference.runners import torch_export

            return torch_export.load
        case Format.TORCHSCRIPT:
            from penstock_inference.runners import torchscript

            return torchscript.load
        case Format.ONNX:
            from penstock_inference.runners import onnx

            return onnx.load

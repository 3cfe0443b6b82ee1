"""The table of the formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from penstock_common.manifest import Format, Manifest
from penstock_inference.runners.runner import Runner

#: Formats that run code of whoever made the model.
CODE_FORMATS = frozenset({Format.JOBLIB, Format.PYTHON})


def import_format(format_: Format) -> Callable[[Path, Manifest, int], Runner]:
    """Import the module of a format, and with it the framework; return its ``load(path, manifest, threads)``.

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
        case Format.TRANSFORMERS:
            from penstock_inference.runners import transformers

            return transformers.load
        case Format.SKOPS:
            from penstock_inference.runners import scikit_learn

            return scikit_learn.load
        case Format.JOBLIB:
            from penstock_inference.runners import scikit_learn

            return scikit_learn.load_pickled
        case Format.LIGHTGBM:
            from penstock_inference.runners import lightgbm

            return lightgbm.load
        case Format.XGBOOST:
            from penstock_inference.runners import xgboost

            return xgboost.load
        case Format.PYTHON:
            from penstock_inference.runners import python

            return python.load

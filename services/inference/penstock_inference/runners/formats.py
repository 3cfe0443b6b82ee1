"""The table of the formats and of the frameworks that run them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from penstock_common.manifest import Format, Manifest
from penstock_inference.runners.runner import ModelMismatchError, Runner, StreamingRunner

#: Formats that run code of whoever made the model.
CODE_FORMATS = frozenset({Format.AOT_INDUCTOR, Format.JOBLIB, Format.PYTHON})
#: Formats that run on the pod's GPU if it has one.
GPU_FORMATS = frozenset(
    {
        Format.AOT_INDUCTOR,
        Format.TORCH_EXPORT,
        Format.TORCHSCRIPT,
        Format.SAFETENSORS,
        Format.TRANSFORMERS,
        Format.ONNX,
    }
)


class Framework(StrEnum):
    """What is imported once, in a parent of its own, for all versions that use it."""

    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    TRANSFORMERS = "transformers"
    SCIKIT_LEARN = "scikit-learn"
    LIGHTGBM = "lightgbm"
    XGBOOST = "xgboost"
    CTRANSLATE2 = "ctranslate2"
    PADDLE_OCR = "paddle-ocr"
    SPACY = "spacy"
    PYTHON = "python"


FRAMEWORKS = {
    Format.TORCH_EXPORT: Framework.TORCH,
    Format.TORCHSCRIPT: Framework.TORCH,
    Format.SAFETENSORS: Framework.TORCH,
    Format.AOT_INDUCTOR: Framework.TORCH,
    Format.ONNX: Framework.ONNXRUNTIME,
    Format.TRANSFORMERS: Framework.TRANSFORMERS,
    Format.SKOPS: Framework.SCIKIT_LEARN,
    Format.JOBLIB: Framework.SCIKIT_LEARN,
    Format.LIGHTGBM: Framework.LIGHTGBM,
    Format.XGBOOST: Framework.XGBOOST,
    Format.CTRANSLATE2: Framework.CTRANSLATE2,
    Format.PADDLE_OCR: Framework.PADDLE_OCR,
    Format.SPACY: Framework.SPACY,
    Format.PYTHON: Framework.PYTHON,
}

#: Frameworks that an installation may lack: the extra that brings them, and a module of it.
_EXTRAS = {
    Framework.CTRANSLATE2: ("ctranslate2", "ctranslate2"),
    Framework.PADDLE_OCR: ("ocr", "cv2"),
    Framework.SPACY: ("spacy", "spacy"),
}

#: What a framework imports only when it loads a model; with them in the parent, a process starts sooner.
_IMPORTED_LATE: dict[Framework, tuple[str, ...]] = {
    Framework.TRANSFORMERS: (
        "penstock_inference.runners.text_generation",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.auto.image_processing_auto",
        "transformers.models.bert.modeling_bert",
        "transformers.models.llama.modeling_llama",
    ),
    Framework.SCIKIT_LEARN: ("pandas", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline"),
    Framework.LIGHTGBM: ("pandas",),
    Framework.CTRANSLATE2: ("soundfile", "soxr"),
    Framework.SPACY: ("spacy.lang.en", "spacy.ml.models"),
    Framework.TORCH: (
        "torch._dynamo.precompile_context",
        "torch._export.db.logging",
        "torch._export.passes.collect_tracepoints_pass",
        "torch._inductor.codecache",
        "torch.export._trace",
    ),
}


def missing_extra(framework: Framework) -> str:
    """Return the name of the extra that this installation needs for a framework; empty if it has all that it needs."""
    extra, module = _EXTRAS.get(framework, ("", ""))
    return extra if extra and importlib.util.find_spec(module) is None else ""


def import_framework(framework: Framework) -> None:
    """Import a framework, with all that it would import while it loads a model."""
    for format_, its_framework in FRAMEWORKS.items():
        if its_framework is framework:
            import_format(format_)
    for module in _IMPORTED_LATE.get(framework, ()):
        importlib.import_module(module)


def import_format(format_: Format) -> Callable[[Path, Manifest, int], Runner]:
    """Import the module of a format, and with it the framework; return its ``load(path, manifest, threads)``.

    The imports are here and not at the top, so that a process holds only the framework that it uses.
    """
    match format_:
        case Format.TORCH_EXPORT:
            from penstock_inference.runners import torch_export

            return torch_export.load
        case Format.TORCHSCRIPT:
            from penstock_inference.runners import torchscript

            return torchscript.load
        case Format.SAFETENSORS:
            from penstock_inference.runners import safetensors

            return safetensors.load
        case Format.AOT_INDUCTOR:
            from penstock_inference.runners import aot_inductor

            return aot_inductor.load
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
        case Format.CTRANSLATE2:
            from penstock_inference.runners import ctranslate2

            return ctranslate2.load
        case Format.PADDLE_OCR:
            from penstock_inference.runners import paddle_ocr

            return paddle_ocr.load
        case Format.SPACY:
            from penstock_inference.runners import spacy

            return spacy.load
        case Format.PYTHON:
            from penstock_inference.runners import python

            return python.load


def import_streaming_format(format_: Format) -> Callable[[Path, Manifest, int], StreamingRunner]:
    """Do the same for a model that streams; return the ``load_streaming(path, manifest, threads)`` of its format.

    Raises:
        ModelMismatchError: models of the format answer at once.
    """
    match format_:
        case Format.TRANSFORMERS:
            from penstock_inference.runners import text_generation

            return text_generation.load_streaming
        case Format.PYTHON:
            from penstock_inference.runners import python

            return python.load_streaming
        case Format.ONNX:
            from penstock_inference.runners import onnx

            return onnx.load_streaming
        case _:
            raise ModelMismatchError(f"Models of the format {format_} answer at once; leave stream: true out.")

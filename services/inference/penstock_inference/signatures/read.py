"""The table of the formats whose signature can be read."""

from __future__ import annotations

from pathlib import Path

from penstock_common.file_kinds import SAFETENSORS
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Format, Task
from penstock_inference.runners.check_file import check_file
from penstock_inference.runners.runner import ModelMismatchError


def read_signature(path: Path, format_: Format, given: list[FoundInput]) -> FileSignature:
    """Return what a file says of itself.

    Args:
        given: what it does not say of its inputs.

    Raises:
        ModelMismatchError: it is not of that format, or of a kind that is not served.
        Exception: whatever the framework raises.
    """
    check_file(path, format_)
    match format_:
        case Format.TORCH_EXPORT | Format.TORCHSCRIPT | Format.AOT_INDUCTOR | Format.ONNX | Format.PYTHON:
            from penstock_inference.signatures import tensors

            return tensors.read(path, format_, given)
        case Format.SAFETENSORS:
            raise ModelMismatchError(f"{path.name} is {SAFETENSORS.name}. {SAFETENSORS.remedy}.")
        case Format.TRANSFORMERS:
            from penstock_inference.signatures import hugging_face

            return hugging_face.read(path)
        case Format.SKOPS | Format.JOBLIB:
            from penstock_inference.signatures import scikit_learn

            return scikit_learn.read(path, format_)
        case Format.LIGHTGBM:
            from penstock_inference.signatures import trees

            return trees.read_lightgbm(path)
        case Format.XGBOOST:
            from penstock_inference.signatures import trees

            return trees.read_xgboost(path)
        case Format.CTRANSLATE2:
            from penstock_inference.signatures import ctranslate2

            return ctranslate2.read(path)
        case Format.SPACY:
            from penstock_inference.signatures import spacy

            return spacy.read(path)
        case Format.PADDLE_OCR:
            return _paddle_ocr()


def _paddle_ocr() -> FileSignature:
    """Return the signature that all folders of PaddleOCR's networks have."""
    return FileSignature(
        [FoundInput("image", "BYTES", [], FieldKind.IMAGE)],
        [FoundOutput("lines", "BYTES", [])],
        rows=1,
        task=Task.TENSOR,
        description="The lines of text in a picture",
    )

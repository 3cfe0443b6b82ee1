"""Folders of CTranslate2, which runs translators and Whisper on the CPU with few threads and in whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2

from penstock_common.file_kinds import ctranslate2_model
from penstock_common.manifest import Manifest, Parameters
from penstock_inference.runners.ctranslate2_models.translator import TranslatorRunner, load_translator
from penstock_inference.runners.ctranslate2_models.whisper import WhisperRunner, load_whisper
from penstock_inference.runners.runner import ModelMismatchError


def load(path: Path, manifest: Manifest, threads: int) -> TranslatorRunner | WhisperRunner:
    """Load a folder that one of CTranslate2's converters wrote, with the tokenizer's files beside it.

    Raises:
        ModelMismatchError: it holds another kind of model, lacks a file, or the manifest does not fit it.
    """
    settings = {"device": "cpu", "inter_threads": 1, "intra_threads": threads, "compute_type": _compute_type(manifest)}
    match ctranslate2_model(path):
        case "TransformerSpec":
            return load_translator(path, manifest, settings)
        case "WhisperSpec":
            return load_whisper(path, manifest, settings)
        case kind:
            raise not_served(path, kind)


def not_served(path: Path, kind: str) -> ModelMismatchError:
    """The error for a folder of CTranslate2 that holds another kind of model."""
    return ModelMismatchError(
        f"{path.name} holds a {kind or 'file that is not a model'} of CTranslate2; those that are served are Whisper and "
        "encoder-decoder models of text (Marian, NLLB, M2M100, mBART, T5, BART, Pegasus)."
    )


def _compute_type(manifest: Manifest) -> Any:
    wanted = (manifest.parameters or Parameters()).compute_type
    known = ["default", "auto", *sorted(ctranslate2.get_supported_compute_types("cpu"))]
    if wanted is not None and wanted not in known:
        raise ModelMismatchError(f"parameters.compute_type: {wanted!r} is none of {', '.join(known)} of this machine.")
    return wanted or "default"

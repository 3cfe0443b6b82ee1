"""Folders of CTranslate2: the kind of model and its languages are in their files."""

from __future__ import annotations

from pathlib import Path

from penstock_common.file_kinds import ctranslate2_model
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task
from penstock_inference.runners.ctranslate2 import not_served
from penstock_inference.runners.ctranslate2_models.folder import read_languages

_CHARACTERS = 2000


def read(path: Path) -> FileSignature:
    """Return the signature of a translator or of Whisper.

    Raises:
        ModelMismatchError: it holds another kind of model.
    """
    match ctranslate2_model(path):
        case "TransformerSpec":
            return _translator(path)
        case "WhisperSpec":
            return _whisper()
        case kind:
            raise not_served(path, kind)


def _translator(path: Path) -> FileSignature:
    text = FoundInput("text", "BYTES", [], FieldKind.TEXT, max_length=_CHARACTERS, note="max_length is a guess")
    both, into = read_languages(path)
    inputs = [text]
    if both:
        inputs += [_language(name, both.codes) for name in ("source_language", "target_language")]
    elif into:
        inputs.append(_language("target_language", into.codes))
    return FileSignature(
        inputs, [FoundOutput("text", "BYTES", [])], task=Task.TENSOR, description="A translator of CTranslate2"
    )


def _language(name: str, known: list[str]) -> FoundInput:
    return FoundInput(name, "BYTES", [], FieldKind.CATEGORY, categories=known)


def _whisper() -> FileSignature:
    sound = FoundInput(
        "audio", "BYTES", [], FieldKind.AUDIO, note="sounds of 60 seconds are allowed; max_seconds says otherwise"
    )
    prompt = FoundInput("prompt", "BYTES", [], FieldKind.TEXT, max_length=_CHARACTERS, required=False)
    temperature = FoundInput("temperature", "FP32", [], FieldKind.NUMBER, required=False, note="temperature is 0 to 1")
    outputs = [FoundOutput(name, "BYTES", []) for name in ("text", "segments", "language")]
    return FileSignature(
        [sound, prompt, temperature], outputs, rows=1, task=Task.TENSOR, description="Whisper by CTranslate2"
    )

"""Folders of spaCy: all that are served take a text and give entities."""

from __future__ import annotations

from pathlib import Path

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task
from penstock_inference.runners.spacy import ENTITIES, check_config

_CHARACTERS = 10_000


def read(path: Path) -> FileSignature:
    """Return the signature of a pipeline that finds entities.

    Raises:
        ModelMismatchError: it is of another kind, or names code that is not spaCy's own.
    """
    check_config(path)
    text = FoundInput("text", "BYTES", [], FieldKind.TEXT, max_length=_CHARACTERS, note="max_length is a guess")
    return FileSignature(
        [text], [FoundOutput(ENTITIES, "BYTES", [])], task=Task.TENSOR, description="Entities of a text, by spaCy"
    )

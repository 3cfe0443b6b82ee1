"""Refuses a file that is not what its manifest says, before a framework explains that in its own words."""

from __future__ import annotations

from pathlib import Path

from penstock_common.file_kinds import file_kind
from penstock_common.manifest import Format
from penstock_inference.runners.runner import ModelMismatchError


def check_file(path: Path, declared: Format) -> None:
    """Check what a model's file is.

    Raises:
        ModelMismatchError: it is something else, which the text names with the remedy.
    """
    kind = file_kind(path)
    if kind is None or kind.format is declared:
        return
    remedy = kind.remedy or f"Set `format: {kind.format}`"
    raise ModelMismatchError(f"{path.name} is {kind.name}; the manifest says {declared}. {remedy}.")

"""Loads the model of an artifact's folder; it happens in the model's process."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Manifest
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.check_file import check_file
from penstock_inference.runners.formats import import_format
from penstock_inference.versions.warm_up import warm_up


def load_model(manifest: Manifest, folder: Path, threads: int) -> LoadedModel:
    """Load a model and warm it up; blocks. Raises whatever its framework raises."""
    load = import_format(manifest.format)
    path = folder / manifest.file
    check_file(path, manifest.format)
    model = LoadedModel(manifest, load(path, manifest, threads), folder)
    warm_up(model)
    return model

"""Loads the model of an artifact's folder; it happens in the model's process."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Manifest
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.streaming_model import StreamingModel
from penstock_inference.runners.check_file import check_file
from penstock_inference.runners.formats import import_format, import_streaming_format
from penstock_inference.versions.stream_trials import try_streams
from penstock_inference.versions.warm_up import warm_up


def load_model(manifest: Manifest, folder: Path, threads: int) -> LoadedModel | StreamingModel:
    """Load a model and try it; blocks. Raises whatever its framework raises."""
    path = folder / manifest.file
    if manifest.stream:
        load_streaming = import_streaming_format(manifest.format)
        check_file(path, manifest.format)
        streaming = StreamingModel(manifest, load_streaming(path, manifest, threads), folder)
        try_streams(streaming)
        return streaming
    load = import_format(manifest.format)
    check_file(path, manifest.format)
    model = LoadedModel(manifest, load(path, manifest, threads), folder)
    warm_up(model)
    return model

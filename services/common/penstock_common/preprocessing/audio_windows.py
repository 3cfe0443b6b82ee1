"""Turns an encoded sound (WAV, FLAC, OGG, MP3) into windows of samples, each with what came before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.audio_decoding import decode_audio
from penstock_common.preprocessing.step import ModelTensor, Step, only_field


class AudioWindowsParams(msgspec.Struct, forbid_unknown_fields=True):
    """``sample_rate``: samples a second. ``window``: samples of each. ``context``: those before it that it begins with."""

    sample_rate: Annotated[int, msgspec.Meta(ge=1_000, le=192_000)]
    window: Annotated[int, msgspec.Meta(ge=16, le=192_000)]
    context: Annotated[int, msgspec.Meta(ge=0, le=192_000)] = 0

    def __post_init__(self) -> None:
        if self.context > self.window:
            raise ValueError(f"context {self.context} is longer than window, {self.window}; give at most that")


def _windows(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: AudioWindowsParams, folder: Path
) -> list[NDArray[Any]]:
    """Return the windows of one sound, ``float32 [1, windows, context + window]``; silence fills up the last one.

    Raises:
        PenstockError: 422 ``invalid-input`` if a sound cannot be decoded or is too long.
    """
    field = manifest.client_inputs[0]
    try:
        samples = decode_audio(inputs[field.name].item(), params.sample_rate, field.most_seconds)
    except ValueError as err:
        raise PenstockError(422, "invalid-input", f"{field.name}: {err}.") from None
    count = -(-len(samples) // params.window)
    padded = np.zeros(params.context + count * params.window, np.float32)
    padded[params.context : params.context + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, params.context + params.window)[:: params.window]
    return [np.ascontiguousarray(windows)[np.newaxis]]


def _tensors(manifest: Manifest, params: AudioWindowsParams) -> list[ModelTensor]:
    field = only_field(manifest, FieldKind.AUDIO)
    if manifest.batch:
        raise ValueError("gives the windows of one sound; set batch: false")
    return [ModelTensor(field.source or field.name, "FP32", (-1, params.context + params.window))]


AUDIO_WINDOWS = Step(AudioWindowsParams, _tensors, _windows)

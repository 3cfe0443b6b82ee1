"""Turns encoded sounds (WAV, FLAC, OGG, MP3) into samples of one channel, or their log-mel features."""

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
from penstock_common.preprocessing.log_mel import log_mel
from penstock_common.preprocessing.step import ModelTensor, Step, only_field

#: Samples of a full batch of the longest sounds: 400 MB.
_MOST_SAMPLES = 100_000_000
#: Of a sound's variance, so that silence can be normalised.
_EPSILON = 1e-7


class AudioParams(msgspec.Struct, forbid_unknown_fields=True):
    """``sample_rate``: samples a second. ``pad_seconds``: to what silence fills up each sound, None for the longest.

    ``normalize``: to the mean 0 and the variance 1. ``log_mel``: features instead of samples, ``n_mels`` bands of frames
    of ``n_fft`` samples, one for each ``hop``. ``mask`` and ``lengths``: names of the file's inputs for them.
    """

    sample_rate: Annotated[int, msgspec.Meta(ge=1_000, le=192_000)]
    pad_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    normalize: bool = False
    log_mel: bool = False
    n_mels: Annotated[int, msgspec.Meta(ge=1, le=512)] = 80
    n_fft: Annotated[int, msgspec.Meta(ge=16, le=16_384)] = 400
    hop: Annotated[int, msgspec.Meta(ge=16, le=16_384)] = 160
    mask: str = "attention_mask"
    lengths: str = "lengths"

    def __post_init__(self) -> None:
        if not self.log_mel and (self.n_mels, self.n_fft, self.hop) != (80, 400, 160):
            raise ValueError("n_mels, n_fft and hop are of log_mel; set log_mel: true, or leave them out")
        if self.n_fft % 2:
            raise ValueError(f"n_fft {self.n_fft} is odd; give an even number")
        if self.mask == self.lengths:
            raise ValueError("mask and lengths are two inputs; give each a name of its own")


def _audio(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: AudioParams, folder: Path
) -> list[NDArray[Any]]:
    """Return samples ``float32 [N, L]`` or features ``[N, n_mels, L]``, mask ``int64 [N, L]``, lengths ``int64 [N]``.

    Each row is computed alone, and zeros fill it up to the longest; with ``pad_seconds``, silence does before that.

    Raises:
        PenstockError: 422 ``invalid-input`` if a sound cannot be decoded or is too long.
    """
    field = manifest.client_inputs[0]
    width = round(params.pad_seconds * params.sample_rate) if params.pad_seconds else 0
    rows = []
    for data in inputs[field.name].tolist():
        try:
            samples = decode_audio(data, params.sample_rate, field.most_seconds)
        except ValueError as err:
            raise PenstockError(422, "invalid-input", f"{field.name}: {err}.") from None
        rows.append(_row(samples, params, width))
    lengths = np.array([row.shape[-1] for row in rows], np.int64)
    longest = int(lengths.max())
    batch = np.zeros((len(rows), *rows[0].shape[:-1], longest), np.float32)
    for own, row in zip(batch, rows, strict=True):
        own[..., : row.shape[-1]] = row
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    return [batch, mask, lengths]


def _row(samples: NDArray[np.float32], params: AudioParams, width: int) -> NDArray[np.float32]:
    if params.normalize:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + _EPSILON)
    if width:
        samples = np.pad(samples[:width], (0, max(0, width - len(samples))))
    if not params.log_mel:
        return samples
    return log_mel(samples, params.sample_rate, n_mels=params.n_mels, n_fft=params.n_fft, hop=params.hop)


def _tensors(manifest: Manifest, params: AudioParams) -> list[ModelTensor]:
    field = only_field(manifest, FieldKind.AUDIO)
    seconds = params.pad_seconds or field.most_seconds
    if field.most_seconds > seconds:
        raise ValueError(
            f"fills sounds up to pad_seconds, {seconds:g}, and {field.name} may have {field.most_seconds:g}; set its "
            "max_seconds to that or less"
        )
    samples = manifest.batching.max_batch_size * seconds * params.sample_rate
    if samples > _MOST_SAMPLES:
        raise ValueError(
            f"gives up to {samples:,.0f} samples for a batch of {manifest.batching.max_batch_size} sounds of {seconds:g} "
            f"seconds, {_MOST_SAMPLES:,} are allowed; lower max_batch_size, or max_seconds of {field.name}"
        )
    width = -1
    if params.pad_seconds:
        width = round(params.pad_seconds * params.sample_rate)
        width = max(width // params.hop, 1) if params.log_mel else width
    shape = (params.n_mels, width) if params.log_mel else (width,)
    return [
        ModelTensor(field.source or field.name, "FP32", shape),
        ModelTensor(params.mask, "INT64", (width,), optional=True, any_datatype=True),
        ModelTensor(params.lengths, "INT64", (), optional=True, any_datatype=True),
    ]


AUDIO = Step(AudioParams, _tensors, _audio)

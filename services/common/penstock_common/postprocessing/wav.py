"""Turns samples of sound into WAV files."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import Manifest, Output
from penstock_common.postprocessing.step import Batch, Step, described
from penstock_common.tensors import kind_of
from penstock_common.wav_file import wav_file


class WavParams(msgspec.Struct, forbid_unknown_fields=True):
    """``sample_rate``: samples a second. ``lengths``: the file's output with the number of samples of each row."""

    sample_rate: Annotated[int, msgspec.Meta(ge=1_000, le=192_000)]
    lengths: str | None = None


def _wav(batch: Batch, params: WavParams) -> list[NDArray[Any]]:
    """Return a file for each row: 16 bits, one channel; samples beyond -1 and 1 are clipped."""
    samples = batch.tensors[0]
    if kind_of(samples.dtype) != "f" or samples.ndim < 2 or math.prod(samples.shape[1:-1]) != 1:
        raise bad_model_answer(f"output {batch.output.name!r} as {described(samples)}, which wav cannot work on")
    rows = samples.reshape(len(samples), samples.shape[-1])
    if not np.isfinite(rows).all():
        raise bad_model_answer(f"output {batch.output.name!r} with a sample that is not a finite number")
    lengths = _lengths(batch, rows) if params.lengths else [rows.shape[1]] * len(rows)
    files = np.empty(len(rows), dtype=np.object_)
    files[:] = [wav_file(row[:length], params.sample_rate) for row, length in zip(rows, lengths, strict=True)]
    return [files]


def _lengths(batch: Batch, rows: NDArray[Any]) -> list[int]:
    lengths = batch.tensors[1]
    if lengths.dtype.kind not in "iu" or lengths.size != len(rows) or not _within(lengths, rows.shape[1]):
        raise bad_model_answer(
            f"the lengths of output {batch.output.name!r} as {described(lengths)} for sounds of {rows.shape[1]} samples"
        )
    counts: list[int] = lengths.ravel().tolist()
    return counts


def _within(lengths: NDArray[Any], most: int) -> bool:
    return bool((lengths >= 0).all() and (lengths <= most).all())


def _check(manifest: Manifest, output: Output, params: WavParams) -> None:
    if output.datatype != "BYTES" or output.shape:
        raise ValueError(
            f"outputs.{output.name}.datatype: postprocess wav gives BYTES without a shape, a file for each row; got "
            f"{output.datatype} {output.shape}"
        )


WAV = Step(WavParams, _check, _wav, reads=lambda params: [params.lengths] if params.lengths else [], binary=True)

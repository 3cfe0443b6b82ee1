"""Turns how likely each window of a sound is speech into the times at which somebody speaks.

The rules are those of ``get_speech_timestamps`` of silero-vad (github.com/snakers4/silero-vad), without a longest segment.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import FieldKind, Manifest, Output
from penstock_common.postprocessing.step import Batch, Step, described
from penstock_common.tensors import kind_of

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=60)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
#: Of a second.
_DIGITS = 3


class SpeechSegmentsParams(msgspec.Struct, forbid_unknown_fields=True):
    """``window_seconds``: of each probability. ``start``: the probability at which speech begins; ``stop``: below which
    there is silence. ``shortest_seconds``: a shorter segment is dropped. ``silence_seconds``: a shorter silence does not
    end a segment. ``margin_seconds``: added on both sides."""

    window_seconds: Annotated[float, msgspec.Meta(gt=0, le=10)]
    start: _Share = 0.5
    stop: _Share = 0.35
    shortest_seconds: _Seconds = 0.25
    silence_seconds: _Seconds = 0.1
    margin_seconds: _Seconds = 0.03


def _segments(batch: Batch, params: SpeechSegmentsParams) -> list[NDArray[Any]]:
    """Return the segments of each sound, a JSON list of ``{"start", "end"}`` in seconds."""
    probabilities = batch.tensors[0]
    if kind_of(probabilities.dtype) != "f" or not np.isfinite(probabilities).all():
        raise bad_model_answer(f"output {batch.output.name!r} as {described(probabilities)}, not as probabilities")
    sounds = batch.inputs[_sound_field(batch.manifest)].ravel().tolist()
    texts = np.empty(len(sounds), dtype=np.object_)
    for i, (row, sound) in enumerate(zip(probabilities.reshape(len(sounds), -1).tolist(), sounds, strict=True)):
        found = speech_segments(row, _seconds(sound), params)
        texts[i] = json.dumps(
            [{"start": round(start, _DIGITS), "end": round(end, _DIGITS)} for start, end in found]
        ).encode()
    return [texts]


def speech_segments(
    probabilities: Sequence[float], seconds: float, params: SpeechSegmentsParams
) -> list[tuple[float, float]]:
    """Return start and end of each segment of a sound of some ``seconds``."""
    found: list[tuple[float, float]] = []
    start = silent_since = math.nan  # NaN: not in speech, or not in silence within it
    for i, probability in enumerate(probabilities):
        now = i * params.window_seconds
        if probability >= params.start:
            silent_since = math.nan
            start = now if math.isnan(start) else start
        elif probability < params.stop and not math.isnan(start):
            silent_since = now if math.isnan(silent_since) else silent_since
            if now - silent_since >= params.silence_seconds:
                found.append((start, silent_since))
                start = silent_since = math.nan
    if not math.isnan(start):
        found.append((start, seconds))
    return _with_margins([one for one in found if one[1] - one[0] > params.shortest_seconds], seconds, params)


def _with_margins(
    segments: Sequence[tuple[float, float]], seconds: float, params: SpeechSegmentsParams
) -> list[tuple[float, float]]:
    """Widen segments by the margin; two that would overlap meet in the middle."""
    ends = [0.0, *[end for _, end in segments]]
    starts = [*[start for start, _ in segments], math.inf]
    margin = params.margin_seconds
    wide = []
    for i, (start, end) in enumerate(segments):
        before = start - ends[i] if i else math.inf
        after = starts[i + 1] - end
        wide.append((max(0.0, start - min(margin, before / 2)), min(seconds, end + min(margin, after / 2))))
    return wide


def _seconds(sound: bytes) -> float:
    """Return how long a sound is, of which the pre-processing has shown that it can be decoded."""
    # Imported here because only the services that run models of sounds depend on it; this package does not.
    import soundfile

    return float(soundfile.info(io.BytesIO(sound)).duration)


def _sound_field(manifest: Manifest) -> str:
    """Return the name of the only field of sounds; raise ValueError if there is none, or several."""
    names = [field.name for field in manifest.client_inputs if field.kind is FieldKind.AUDIO]
    if len(names) != 1:
        raise ValueError("postprocess: speech-segments is for a model with one input of kind audio")
    return names[0]


def _check(manifest: Manifest, output: Output, params: SpeechSegmentsParams) -> None:
    _sound_field(manifest)
    if output.datatype != "BYTES" or output.shape:
        raise ValueError(
            f"outputs.{output.name}.datatype: postprocess speech-segments gives BYTES without a shape, a JSON list for each "
            f"sound; got {output.datatype} {output.shape}"
        )
    if params.stop > params.start:
        raise ValueError(f"postprocess: speech-segments stop {params.stop} is above start, {params.start}; lower it")


SPEECH_SEGMENTS = Step(SpeechSegmentsParams, _check, _segments)

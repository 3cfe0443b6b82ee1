"""The steps ``audio-windows`` and ``speech-segments``: a sound into windows, and their probabilities into times."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Postprocess, Preprocess, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.preprocessing.steps import model_tensors, preprocess
from penstock_common.wav_file import wav_file

WINDOWS = {"sample_rate": 16000, "window": 400, "context": 100}
SOUND = Field("sound", FieldKind.AUDIO, "BYTES", max_seconds=2)


def manifest(
    *,
    batch: bool = False,
    windows: dict[str, Any] = WINDOWS,
    segments: dict[str, Any] | None = None,
    kind: str = "BYTES",
) -> Manifest:
    made = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.TENSOR,
        [SOUND],
        [Output("segments", kind, source="speech")],
        preprocess=Preprocess("audio-windows", windows),
        postprocess=Postprocess("speech-segments", {"window_seconds": 0.1} | (segments or {})),
        batch=batch,
    )
    check_manifest_values(made)
    return made


def file(samples: NDArray[np.float32]) -> NDArray[Any]:
    files = np.empty(1, dtype=np.object_)
    files[0] = wav_file(samples, 16000)
    return files


def test_windows_begin_with_what_came_before() -> None:
    """Silence before the first one and after the last."""
    sound = np.linspace(-1, 1, 1000, dtype=np.float32)
    [windows] = preprocess(manifest(), {"sound": file(sound)})
    assert (windows.shape, windows.dtype, windows.flags.c_contiguous) == ((1, 3, 500), np.float32, True)
    padded = np.concatenate([np.zeros(100), sound, np.zeros(200)])
    for i, window in enumerate(windows[0]):
        np.testing.assert_allclose(window, padded[i * 400 : i * 400 + 500], atol=1e-4)
    [tensor] = model_tensors(manifest())
    assert (tensor.name, tensor.file_shape) == ("sound", (-1, 500))


def segments(*probabilities: float, seconds: float = 1.0, **params: float) -> list[dict[str, float]]:
    steps = Postprocessing(manifest(segments=params))
    speech = np.array([probabilities], np.float32)[..., None]
    [texts] = steps.run([speech], {"sound": file(np.zeros(round(seconds * 16000), np.float32))})
    found: list[dict[str, float]] = json.loads(texts[0])
    return found


def span(start: float, end: float) -> dict[str, float]:
    return {"start": start, "end": end}


EXACT = {"margin_seconds": 0.0, "silence_seconds": 0.15, "shortest_seconds": 0.15}


def test_speech_begins_and_ends_at_different_probabilities() -> None:
    """It goes on between the two, through a short silence, and to the end of the sound."""
    assert segments(0.1, 0.5, 0.4, 0.3, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, **EXACT) == [span(0.1, 0.5)]
    assert segments(0.4, 0.4, 0.6, 0.6, 0.4, 0.4, seconds=0.57, **EXACT) == [span(0.2, 0.57)]
    assert segments(0.4, 0.4, **EXACT) == []


def test_short_speech_is_dropped() -> None:
    """A click is not speech."""
    assert segments(0.9, 0, 0, 0, 0.9, 0.9, 0, 0, 0, 0, **EXACT) == [span(0.4, 0.6)]


def test_segments_have_margins() -> None:
    """Within the sound; between two that are near, they meet in the middle."""
    margins = EXACT | {"margin_seconds": 0.12, "silence_seconds": 0.05}
    assert segments(0.9, 0.9, 0, 0, 0.9, 0.9, 0, 0, 0, 0, **margins) == [span(0, 0.3), span(0.3, 0.72)]
    assert segments(0.9, 0.9, seconds=0.2, **margins) == [span(0, 0.2)]


def test_what_is_no_probability_is_the_models_fault() -> None:
    """Also if only one number is none."""
    with pytest.raises(PenstockError, match="not as probabilities") as caught:
        segments(0.5, float("nan"))
    assert caught.value.code == "bad-model-answer"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"batch": True}, "set batch: false"),
        ({"windows": WINDOWS | {"context": 401}}, "context 401 is longer"),
        ({"segments": {"stop": 0.6}}, "stop 0.6 is above start, 0.5"),
        ({"kind": "FP32"}, "gives BYTES"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(members: dict[str, Any], reason: str) -> None:
    """With the place and the remedy."""
    with pytest.raises(PenstockError, match=reason):
        manifest(**members)


def test_a_sound_that_cannot_be_decoded_is_refused() -> None:
    """By the field's name."""
    with pytest.raises(PenstockError, match="sound: ") as caught:
        preprocess(manifest(), {"sound": np.array([b"RIFF"], dtype=object)})
    assert caught.value.code == "invalid-input"

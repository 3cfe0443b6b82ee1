"""Vectors of sentences, by all-MiniLM-L6-v2 (huggingface.co/sentence-transformers/all-MiniLM-L6-v2)."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes import mini_lm
from penstock_training.recipes.recipe import Call, Recipe


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    mini_lm.copy_weights(package, artifact)
    write_manifest(
        artifact,
        Manifest(
            Format.TRANSFORMERS,
            mini_lm.FOLDER,
            Task.TENSOR,
            [Field("text", FieldKind.TEXT, "BYTES", max_length=10_000, description="Up to 256 tokens are read.")],
            [Output("embedding", "FP32", [384]), Output("tokens", "INT32")],
            batching=Batching(32),
            description="Vectors of sentences in English, of length 1: the closer in meaning, the larger their product.",
            examples=[{"text": "A man is eating food."}],
            service=Service.EMBEDDINGS,
        ),
    )


RECIPE = Recipe(
    name="embeddings",
    what="vectors of sentences, for search and comparison (all-MiniLM-L6-v2, English)",
    packages=(mini_lm.PACKAGE,),
    megabytes=mini_lm.MEGABYTES,
    licence=mini_lm.LICENCE,
    call=Call("/v1/embeddings", {"model": "{model}", "input": ["A man is eating food.", "Someone has a meal."]}),
    make=_make,
    quality="cosine of 1.0000 with the library's own vectors",
)

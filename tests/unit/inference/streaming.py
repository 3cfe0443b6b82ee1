"""Artifacts of ``streaming_code``, and their rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from tests.unit.inference import streaming_code


def streaming_manifest(**members: Any) -> Manifest:
    """A text and a number in; a number and an array of floats out."""
    given: dict[str, Any] = {
        "format": Format.PYTHON,
        "file": "model.py",
        "task": Task.TENSOR,
        "stream": True,
        "inputs": [Field("what", FieldKind.TEXT, "BYTES"), Field("n", FieldKind.INTEGER, "INT64")],
        "outputs": [Output("y", "INT64"), Output("data", "FP32", [-1])],
        "examples": [{"what": "count", "n": 2}],
    }
    return Manifest(**(given | members))


def write_model(folder: Path) -> None:
    """Put the model's file into the folder of an artifact."""
    shutil.copy(streaming_code.__file__, folder / "model.py")


def row(what: str, n: int = 0) -> dict[str, NDArray[Any]]:
    """The inputs of one stream."""
    text = np.empty(1, np.object_)
    text[:] = [what.encode()]
    return {"what": text, "n": np.array([n])}

"""Models that are Python code, which an operator has to allow: a file with a class ``Model``.

    class Model:
        def load(self, folder: pathlib.Path) -> None: ...
        def predict(self, inputs: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]: ...

The arrays are batches ``[N, ...]``, or as the manifest says, and named as there; BYTES are object arrays of ``bytes``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError


class PythonRunner:
    def __init__(self, model: Any, manifest: Manifest) -> None:
        self._model = model
        self.inputs = [
            FileTensor(
                tensor.name,
                tensor.datatype,
                tensor.file_shape,
                required=not (tensor.optional or tensor.may_be_absent),
            )
            for tensor in model_tensors(manifest)
        ]

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        named = {
            str(tensor.name): array for tensor, array in zip(self.inputs, inputs, strict=True) if array is not None
        }
        answer = self._model.predict(named)
        if not isinstance(answer, dict):
            raise ModelMismatchError(f"predict returns a dict of arrays by name; it returned {type(answer).__name__}.")
        return answer

    def changed_state(self) -> list[str]:
        return []  # whether a call changes the next is up to the code


def load(path: Path, manifest: Manifest, threads: int) -> PythonRunner:
    """Import a ``.py`` file, make its ``Model`` and load it."""
    spec = importlib.util.spec_from_file_location("penstock_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # for the modules beside it
    spec.loader.exec_module(module)
    if not hasattr(module, "Model"):
        raise ModelMismatchError(f"{path.name} has no class Model with load(folder) and predict(inputs).")
    model = module.Model()
    model.load(path.parent)
    return PythonRunner(model, manifest)

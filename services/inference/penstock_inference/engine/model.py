"""One loaded model version: pre-processing, the runner, and the checks around them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.preprocessing.steps import preprocess
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.runners.torch_export import Runner, load_runner

Arrays = dict[str, NDArray[Any]]


class LoadedModel:
    """Runs batches of one version.

    Args:
        manifest: its signature and pre-processing.
        runner: its file, loaded.
    """

    def __init__(self, manifest: Manifest, runner: Runner) -> None:
        self.manifest = manifest
        self._runner = runner

    @classmethod
    def load(cls, manifest: Manifest, folder: Path, threads: int) -> LoadedModel:
        """Load from an artifact's folder and run it once small and once large, so that the first request is fast."""
        model = cls(manifest, load_runner(manifest, folder, threads))
        for rows in {1, manifest.batching.max_batch_size}:
            model.run(warm_up_rows(manifest, rows))
        return model

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[Arrays, int]:
        """The inputs in the shape ``[rows, *shape]`` of the signature, and the number of rows.

        Raises:
            PenstockError: 422 ``invalid-input`` naming the tensor and what fits.
        """
        names = [field.name for field in self.manifest.inputs]
        if set(inputs) != set(names):
            raise _invalid(f"The inputs are {sorted(inputs)}; this model takes {names}.")
        checked: Arrays = {}
        rows = -1
        for field in self.manifest.inputs:
            array = inputs[field.name]
            if array.dtype != NUMPY_DTYPES[field.datatype]:
                raise _invalid(f"{field.name}: the datatype must be {field.datatype}.")
            if not field.shape and array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            if array.ndim == 0 or list(array.shape[1:]) != field.shape:
                raise _invalid(f"{field.name}: shape {list(array.shape)} does not fit {[-1, *field.shape]}.")
            if rows not in (-1, len(array)):
                raise _invalid(f"{field.name}: has {len(array)} rows, the inputs before it {rows}.")
            rows = len(array)
            checked[field.name] = array
        if rows < 1:
            raise _invalid("There are no rows; send at least one.")
        return checked, rows

    def run(self, inputs: Arrays) -> list[NDArray[Any]]:
        """Outputs in the order of the signature, ``[rows, *shape]`` each.

        Raises:
            PenstockError: 422 for a row that cannot be pre-processed; 500 where the answer does not fit the signature.
        """
        rows = len(next(iter(inputs.values())))
        outputs = self._runner(preprocess(self.manifest, inputs))
        if len(outputs) != len(self.manifest.outputs):
            raise PenstockError(
                500,
                "bad-model-answer",
                f"The model gave {len(outputs)} outputs, its manifest names {len(self.manifest.outputs)}.",
            )
        for output, spec in zip(outputs, self.manifest.outputs, strict=True):
            if output.ndim == 0 or len(output) != rows:
                raise PenstockError(
                    500, "bad-model-answer", f"Output {spec.name!r} has not one row for each input row."
                )
        return outputs


def warm_up_rows(manifest: Manifest, rows: int) -> Arrays:
    """A batch of the manifest's first example, or of plausible values where it has none."""
    example = manifest.examples[0] if manifest.examples else {}
    batch: Arrays = {}
    for field in manifest.inputs:
        dtype = NUMPY_DTYPES[field.datatype]
        array = np.empty((rows, *field.shape), dtype=dtype)
        array[...] = _value(field, example.get(field.name))
        batch[field.name] = array
    return batch


#: A one-pixel PNG, for image models without an example.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def _value(field: Field, example: Any) -> Any:
    if field.kind is FieldKind.IMAGE:
        return base64.b64decode(example.rpartition(",")[2]) if example else _PIXEL
    if field.datatype == "BYTES" and field.kind is not FieldKind.TENSOR:
        return (example or (field.categories or ["warm up"])[0]).encode()
    if field.datatype == "BYTES":
        return b""
    return example if example is not None else (field.minimum or 0)


def _invalid(detail: str) -> PenstockError:
    return PenstockError(422, "invalid-input", detail)

"""Checks a batch's outputs against the signature of its model: what does not fit is the model's fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.dimensions import fits
from penstock_common.errors import bad_model_answer
from penstock_common.manifest import Dimension, Manifest, Output, Task
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.runners.runner import ModelMismatchError

_DATATYPES = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


def check_outputs(manifest: Manifest, outputs: Sequence[NDArray[Any]], rows: int) -> list[NDArray[Any]]:
    """Return the outputs in the shape ``[rows, *shape]`` of the signature; ``[rows, 1]`` fits a scalar.

    Raises:
        PenstockError: 500 ``bad-model-answer``, which names the output, what it is and what was declared; also if the
            first output of a classification is not finite.
    """
    checked = [_checked(spec, output, rows) for spec, output in zip(manifest.outputs, outputs, strict=True)]
    if manifest.task is Task.CLASSIFICATION and not np.isfinite(checked[0]).all():
        raise bad_model_answer(f"output {manifest.outputs[0].name!r} with a probability that is not a finite number")
    return checked


def check_probabilities(manifest: Manifest, outputs: Sequence[NDArray[Any]]) -> None:
    """Refuse the first output of a classification if its rows are not probabilities.

    Raises:
        ModelMismatchError: naming the output, the row and the remedy.
    """
    if manifest.task is not Task.CLASSIFICATION:
        return
    tolerance = 2e-2 if manifest.acceleration.in_half_precision or outputs[0].dtype.itemsize == 2 else 1e-3
    first = manifest.outputs[0].name
    independent = any(step.name == "sigmoid" and step.output in ("", first) for step in manifest.postprocess_steps)
    for row in outputs[0]:
        total = float(row.sum(dtype=np.float64))
        within = row.min() >= -tolerance and row.max() <= 1 + tolerance
        if not within or (abs(total - 1) > tolerance and not independent):
            shown = ", ".join([f"{value:.4g}" for value in row[:5].tolist()])
            raise ModelMismatchError(
                f"Output {first!r} is not probabilities: a row is {shown}{', …' * (len(row) > 5)} with "
                f"the sum {total:.4g}. If the file gives logits, set postprocess: softmax (sigmoid if the labels are "
                "independent); if it gives other scores, set task: tensor."
            )


def _checked(spec: Output, output: NDArray[Any], rows: int) -> NDArray[Any]:
    shape = output.shape
    if len(shape) == 2 and shape[1] == 1 and not spec.shape:
        output = output[:, 0]
        shape = output.shape
    if output.dtype != NUMPY_DTYPES[spec.datatype] or not _fits(shape, rows, spec.shape):
        found = f"{_DATATYPES.get(output.dtype, output.dtype.name)} {list(output.shape)}"
        declared = f"{spec.datatype} {[-1, *spec.shape]}"
        raise bad_model_answer(f"output {spec.name!r} as {found} to {rows} rows; its manifest declares {declared}")
    return output


def _fits(shape: tuple[int, ...], rows: int, declared: list[Dimension]) -> bool:
    return shape[:1] == (rows,) and fits(shape[1:], declared)

"""Checks a message's inputs against the signature of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.engine.message import Arrays


def check_inputs(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> tuple[Arrays, int]:
    """Return the inputs in the shape ``[rows, *shape]`` of the signature, and the number of rows.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the tensor and what fits.
    """
    names = [field.name for field in manifest.inputs]
    if set(inputs) != set(names):
        raise _invalid(f"The inputs are {sorted(inputs)}; this model takes {names}.")
    checked: Arrays = {}
    rows = -1
    for field in manifest.inputs:
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


def check_utf8(inputs: Arrays) -> None:
    """Refuse texts that are not UTF-8.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the tensor and the row.
    """
    for name, array in inputs.items():
        if array.dtype != NUMPY_DTYPES["BYTES"]:
            continue
        for row, elements in enumerate(array):
            for element in elements.ravel().tolist() if array.ndim > 1 else [elements]:
                try:
                    element.decode()
                except UnicodeDecodeError as err:
                    raise _invalid(f"{name}: row {row} is not UTF-8 (byte {err.start}); send texts in UTF-8.") from None


def _invalid(detail: str) -> PenstockError:
    return PenstockError(422, "invalid-input", detail)

"""Checks a message's inputs against the signature of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.dimensions import check_elements, check_named_sizes, fits
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, Manifest
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.engine.message import Arrays


def check_inputs(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> tuple[Arrays, int]:
    """Return the inputs in the shape ``[rows, *shape]`` of the signature, and the number of rows: 1 without a batch.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the tensor and what fits.
    """
    fields = manifest.client_inputs
    names = [field.name for field in fields]
    needed = {field.name for field in fields if not field.may_be_absent}
    if not needed <= set(inputs) <= set(names):
        raise _invalid(f"The inputs are {sorted(inputs)}; this model takes {names}.")
    checked: Arrays = {}
    rows = -1
    for field in fields:
        if field.name not in inputs:
            continue
        array = inputs[field.name] if manifest.batch else inputs[field.name][np.newaxis]
        if array.dtype != NUMPY_DTYPES[field.datatype]:
            raise _invalid(f"{field.name}: the datatype must be {field.datatype}.")
        if not field.shape and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 0 or not fits(array.shape[1:], field.shape):
            wanted = [-1, *field.shape] if manifest.batch else field.shape
            raise _invalid(f"{field.name}: shape {list(inputs[field.name].shape)} does not fit {wanted}.")
        if field.varies:
            _check_row(field, array.shape[1:])
        if rows not in (-1, len(array)):
            raise _invalid(f"{field.name}: has {len(array)} rows, the inputs before it {rows}.")
        rows = len(array)
        checked[field.name] = array
    if rows < 1:
        raise _invalid("There are no rows; send at least one.")
    if len(fields) > 1:
        try:
            check_named_sizes([(field, _shape(checked.get(field.name))) for field in fields])
        except ValueError as err:
            raise _invalid(f"{err}.") from None
    return checked, rows


def _check_row(field: Field, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise _invalid(f"{field.name}: shape {list(shape)} of a row has no elements.")
    try:
        check_elements(field, shape)
    except ValueError as err:
        raise _invalid(f"{field.name}: {err}.") from None


def _shape(array: NDArray[Any] | None) -> tuple[int, ...] | None:
    return None if array is None else array.shape[1:]


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

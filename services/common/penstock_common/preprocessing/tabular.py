"""Turns the columns of a table into a tensor of numbers and a tensor of category indices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step

_NUMERIC = (FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.BOOLEAN)


class TabularParams(msgspec.Struct, forbid_unknown_fields=True):
    """The names that the model's file has for the two tensors."""

    numbers: str = "numbers"
    indices: str = "indices"


def _tabular(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: TabularParams, folder: Path
) -> list[NDArray[Any]]:
    """Return the fields as ``float32 [N, numeric]`` and ``int64 [N, categorical]`` (index in ``categories``).

    Raises:
        PenstockError: 422 ``invalid-input`` for a value that is not one of its field's categories.
    """
    numeric, categorical = _columns(manifest)
    rows = len(inputs[manifest.client_inputs[0].name])
    numbers = np.empty((rows, len(numeric)), dtype=np.float32)
    for column, field in enumerate(numeric):
        numbers[:, column] = inputs[field.name]
    indices = np.empty((rows, len(categorical)), dtype=np.int64)
    for column, field in enumerate(categorical):
        index = {value.encode(): i for i, value in enumerate(field.categories or [])}
        for row, value in enumerate(inputs[field.name].tolist()):
            if value not in index:
                shown = value[:60].decode(errors="replace")
                raise PenstockError(
                    422, "invalid-input", f"{field.name}: {shown!r} is none of {', '.join(field.categories or [])}."
                )
            indices[row, column] = index[value]
    return [numbers, indices]


def _columns(manifest: Manifest) -> tuple[list[Field], list[Field]]:
    """Return the numeric and the categorical fields."""
    return (
        [field for field in manifest.client_inputs if field.kind in _NUMERIC],
        [field for field in manifest.client_inputs if field.kind is FieldKind.CATEGORY],
    )


def _tensors(manifest: Manifest, params: TabularParams) -> list[ModelTensor]:
    for field in manifest.client_inputs:
        if field.kind not in (*_NUMERIC, FieldKind.CATEGORY):
            raise ValueError(f"takes numbers, integers, booleans and categories; {field.name} is of kind {field.kind}")
        if field.source:
            raise ValueError(
                f"gathers the fields into two tensors, which its parameters name; {field.name} has a source"
            )
    if params.numbers == params.indices:
        raise ValueError(f"needs two names for its tensors; both are {params.numbers!r}")
    numeric, categorical = _columns(manifest)
    return [
        ModelTensor(params.numbers, "FP32", (len(numeric),), optional=not numeric),
        ModelTensor(params.indices, "INT64", (len(categorical),), optional=not categorical),
    ]


TABULAR = Step(TabularParams, _tensors, _tabular)

"""Turns the columns of a table into a tensor of numbers and a tensor of category indices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest


def tabular(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Return the fields as ``float32 [N, numeric]`` and ``int64 [N, categorical]`` (index in ``categories``).

    Raises:
        PenstockError: 422 ``invalid-input`` for a value that is not one of its field's categories.
    """
    numeric = [f for f in manifest.inputs if f.kind in (FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.BOOLEAN)]
    categorical = [f for f in manifest.inputs if f.kind is FieldKind.CATEGORY]
    rows = len(inputs[manifest.inputs[0].name])
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

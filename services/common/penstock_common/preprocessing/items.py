"""``items``: the names of items into their positions, for a model that recommends others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.item_names import FILE, check_inside, read_item_names
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step


class ItemsParams(msgspec.Struct, forbid_unknown_fields=True):
    """``file``: the items that the model knows, one a line, in UTF-8, in the artifact."""

    file: str = FILE

    def __post_init__(self) -> None:
        check_inside(self.file)


def _positions(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: ItemsParams, folder: Path
) -> list[NDArray[Any]]:
    """Return the positions, ``int64 [N, L]``; for an item that is unknown or repeated, the number of all items."""
    known = read_item_names(folder / params.file)
    rows = inputs[_list_field(manifest).name]
    positions = np.full(rows.shape, len(known.names), np.int64)
    for row, names in enumerate(rows.tolist()):
        first = {name: column for column, name in reversed(list(enumerate(names)))}
        for name, column in first.items():
            positions[row, column] = known.positions.get(name, len(known.names))
    return [positions]


def _list_field(manifest: Manifest) -> Field:
    return next(field for field in manifest.client_inputs if field.kind is FieldKind.TENSOR)


def _tensors(manifest: Manifest, params: ItemsParams) -> list[ModelTensor]:
    lists = [field for field in manifest.client_inputs if field.kind is FieldKind.TENSOR]
    if len(lists) != 1 or lists[0].datatype != "BYTES" or len(lists[0].shape) != 1:
        raise ValueError("takes one list of texts: an input of kind: tensor, datatype: BYTES and shape: [-1]")
    counts = {step.params.get("count") for step in manifest.postprocess_steps if step.name == "ranking"}
    for field in manifest.client_inputs:
        if field is not lists[0] and field.name not in counts:
            raise ValueError(f"ignores {field.name}; leave it out, or name it as the count of postprocess ranking")
    return [ModelTensor(lists[0].source or lists[0].name, "INT64", (-1,), any_datatype=True)]


ITEMS = Step(ItemsParams, _tensors, _positions, files=lambda params: [params.file])

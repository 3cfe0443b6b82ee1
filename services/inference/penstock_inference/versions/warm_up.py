"""Runs a model once small and once large before it serves, so that its first request is as fast as the others."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.engine.message import Arrays
from penstock_inference.engine.model import LoadedModel

#: A PNG of one pixel, for image models without an example.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def warm_up(model: LoadedModel) -> None:
    """Run one row, and as many as fit into one batch. Raises whatever the model raises."""
    for rows in {1, model.manifest.batching.max_batch_size}:
        model.run(example_rows(model.manifest, rows))


def example_rows(manifest: Manifest, rows: int) -> Arrays:
    """Return a batch of copies of the manifest's first example; fields without one get a plausible value."""
    example = manifest.examples[0] if manifest.examples else {}
    batch: Arrays = {}
    for field in manifest.inputs:
        array = np.empty((rows, *field.shape), dtype=NUMPY_DTYPES[field.datatype])
        array[...] = _value(field, example.get(field.name))
        batch[field.name] = array
    return batch


def _value(field: Field, example: Any) -> Any:
    if field.kind is FieldKind.IMAGE:
        return base64.b64decode(example.rpartition(",")[2]) if example else _PIXEL
    if field.datatype == "BYTES" and field.kind is not FieldKind.TENSOR:
        return (example or (field.categories or ["warm up"])[0]).encode()
    if field.datatype == "BYTES":
        return b""
    return example if example is not None else (field.minimum or 0)

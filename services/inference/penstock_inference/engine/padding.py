"""Brings messages of different sizes to one, as their manifest declares, and cuts their outputs back.

The rows of a batch have one shape. A message is filled up at the end of the dimensions that the manifest pads; a mask
tells the model what is filled. An output that has such a dimension too is cut back to what the message had.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.dimensions import shapes_vary
from penstock_common.manifest import Dimension, Field, Manifest
from penstock_inference.engine.message import Arrays, Outputs


class Padding:
    """The padding of one model; it does nothing if its manifest declares none."""

    def __init__(self, manifest: Manifest) -> None:
        self._vary = shapes_vary(manifest)
        #: The padded fields, each with the name of its dimension and that dimension's axis in a batch.
        self._padded: list[tuple[Field, Dimension, int]] = [
            (field, field.shape[field.pad.axis], 1 + field.pad.axis)
            for field in manifest.client_inputs
            if field.pad is not None
        ]
        names = {name for _, name, _ in self._padded}
        #: For each output, its axes that are cut back, with the names of their dimensions.
        self._cut = [
            [(axis, name) for axis, name in enumerate(output.shape, 1) if name in names] for output in manifest.outputs
        ]

    def kind(self, inputs: Arrays) -> Hashable:
        """Return what messages have to agree in to share a batch: None if all messages may."""
        if not self._vary:
            return None
        shapes: dict[str, list[int]] = {name: list(array.shape[1:]) for name, array in inputs.items()}
        for field, _, axis in self._padded:
            if field.name in shapes:
                shapes[field.name][axis - 1] = -1
        return tuple([(name, *shape) for name, shape in shapes.items()])

    def pad(self, batch: Sequence[Arrays]) -> Sequence[Arrays]:
        """Return the inputs of messages of one kind in one size, with their masks."""
        if not self._padded:
            return batch
        targets = self._targets(batch)
        return [self._filled(inputs, targets) for inputs in batch]

    def cut(self, outputs: Outputs, inputs: Arrays) -> Outputs:
        """Return the outputs of a message without what padding added to them.

        Args:
            inputs: what the message had before it was padded.
        """
        if not self._padded:
            return outputs
        sizes = {name: inputs[field.name].shape[axis] for field, name, axis in self._padded if field.name in inputs}
        return [
            _cut_back(output, [(axis, sizes[name]) for axis, name in axes if name in sizes])
            for output, axes in zip(outputs, self._cut, strict=True)
        ]

    def _targets(self, batch: Sequence[Arrays]) -> dict[Dimension, int]:
        targets: dict[Dimension, int] = {}
        for field, name, axis in self._padded:
            assert field.pad is not None
            largest = max([inputs[field.name].shape[axis] for inputs in batch if field.name in inputs], default=0)
            largest = max(largest, targets.get(name, 0))
            targets[name] = next((size for size in field.pad.sizes if size >= largest), largest)
        return targets

    def _filled(self, inputs: Arrays, targets: dict[Dimension, int]) -> Arrays:
        filled = dict(inputs)
        for field, name, axis in self._padded:
            array = inputs.get(field.name)
            if array is None:
                continue
            if field.mask:
                mask = np.zeros((len(array), targets[name]), np.int64)
                mask[:, : array.shape[axis]] = 1
                filled[field.mask] = mask
            filled[field.name] = _filled_up(field, array, axis, targets[name])
        return filled


def _filled_up(field: Field, array: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    if array.shape[axis] == size:
        return array
    assert field.pad is not None
    value = field.pad.value
    shape = list(array.shape)
    shape[axis] = size
    full: NDArray[Any] = np.full(shape, value.encode() if isinstance(value, str) else value, dtype=array.dtype)
    full[(slice(None),) * axis + (slice(array.shape[axis]),)] = array
    return full


def _cut_back(output: NDArray[Any], sizes: Sequence[tuple[int, int]]) -> NDArray[Any]:
    for axis, size in sizes:
        output = output[(slice(None),) * axis + (slice(size),)]
    return output

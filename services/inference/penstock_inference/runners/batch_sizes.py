"""Fills batches up to a few sizes, for which a GPU has chosen its algorithms or recorded its work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_inference.runners.runner import FileAnswer, FileTensor, Runner


class FilledBatches:
    """A runner whose batches have one of a few sizes, as far as these reach.

    The rows of a batch are independent, so more of them change no answer: the last row is repeated, and what the file
    answers to the copies is cut off.

    Args:
        sizes: in ascending order.
    """

    def __init__(self, runner: Runner, sizes: Sequence[int]) -> None:
        self._runner = runner
        self._sizes = sizes

    @property
    def inputs(self) -> Sequence[FileTensor]:
        return self._runner.inputs

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        rows = next(len(array) for array in inputs if array is not None)
        size = next((size for size in self._sizes if size >= rows), rows)
        if size == rows:
            return self._runner.run(inputs)
        answer = self._runner.run([None if array is None else _filled_up(array, size) for array in inputs])
        if isinstance(answer, dict):
            return {name: _cut(array, size, rows) for name, array in answer.items()}
        return [_cut(array, size, rows) for array in answer]

    def changed_state(self) -> list[str]:
        return self._runner.changed_state()


def _filled_up(array: NDArray[Any], size: int) -> NDArray[Any]:
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _cut(array: NDArray[Any], size: int, rows: int) -> NDArray[Any]:
    """Return the first rows of an output that has the batch's; any other is as the file gives it, to be refused."""
    return array[:rows] if array.shape[:1] == (size,) else array

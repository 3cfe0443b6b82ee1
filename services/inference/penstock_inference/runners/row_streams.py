"""Streams of a model that answers at once: of one request the pre-processing makes several rows, such as the sentences of
a text, and each is a run and a chunk of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.runner import Chunk, FileTensor, Runner

#: Streams that may be open at once; each waits for a step of each other one between two of its chunks.
_MOST_STREAMS = 8

_Row = list[NDArray[Any] | None]


class RowStreams:
    """Makes a streaming runner of another one: a step runs the next row of one open stream, and they take turns."""

    def __init__(self, runner: Runner, manifest: Manifest) -> None:
        self._runner = runner
        self._without_rows = {tensor.name for tensor in model_tensors(manifest) if tensor.batch_axis is None}
        self.paused: set[int] = set()
        self._open: dict[int, Iterator[_Row]] = {}  # the stream whose turn it is first

    @property
    def inputs(self) -> Sequence[FileTensor]:
        return self._runner.inputs

    @property
    def most_streams(self) -> int:
        return _MOST_STREAMS

    def open(self, stream: int, inputs: Sequence[NDArray[Any] | None]) -> None:
        self._open[stream] = self._rows(inputs)

    def step(self) -> list[Chunk]:
        stream = next((stream for stream in self._open if stream not in self.paused), None)
        if stream is None:
            return []
        rows = self._open.pop(stream)
        row = next(rows, None)
        if row is None:
            return [Chunk(stream, last=True)]
        try:
            chunk = Chunk(stream, self._runner.run(row))
        except Exception as err:
            return [Chunk(stream, last=True, error=err)]
        self._open[stream] = rows
        return [chunk]

    def close(self, stream: int) -> None:
        self._open.pop(stream, None)

    def _rows(self, inputs: Sequence[NDArray[Any] | None]) -> Iterator[_Row]:
        """Yield the rows of a request; one of constants, and tensors without rows, are the same in each."""
        shared = [
            array is None or len(array) == 1 or tensor.name in self._without_rows
            for tensor, array in zip(self.inputs, inputs, strict=True)
        ]
        count = max(1 if same or array is None else len(array) for same, array in zip(shared, inputs, strict=True))
        for i in range(count):
            yield [
                array if same or array is None else array[i : i + 1] for same, array in zip(shared, inputs, strict=True)
            ]

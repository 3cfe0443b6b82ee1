"""A loaded model that answers a row with a stream of chunks."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Manifest
from penstock_inference.engine.input_checks import check_utf8
from penstock_inference.engine.message import Arrays
from penstock_inference.engine.model import FileModel
from penstock_inference.runners.runner import Chunk, StreamingRunner


class StreamingModel(FileModel):
    """Runs the streams of one version; all its methods are called from one thread.

    Args:
        runner: its file, loaded.
    """

    def __init__(self, manifest: Manifest, runner: StreamingRunner, folder: Path = Path()) -> None:
        super().__init__(manifest, runner.inputs, folder)
        self._runner = runner
        self._given: dict[int, Arrays] = {}  # what the steps after the file look at again
        self.paused: set[int] | None = getattr(runner, "paused", None)

    @property
    def most_streams(self) -> int:
        """How many may be open at once."""
        return self._runner.most_streams

    def open(self, stream: int, inputs: Arrays) -> None:
        """Begin a stream with the checked inputs of one row, ``[1, *shape]`` each.

        Raises:
            PenstockError: 422 ``invalid-input`` for a row that cannot be read.
            Exception: whatever the framework raises.
        """
        tensors = self._file_inputs(inputs, 1)
        try:
            self._runner.open(stream, tensors)
        except UnicodeDecodeError:
            check_utf8(inputs)
            raise
        self._given[stream] = inputs

    def step(self) -> list[Chunk]:
        """Run a step of all open streams and return what it gave, its outputs in the order of the manifest.

        A chunk whose outputs do not fit the manifest ends its stream with the error.
        """
        return [self._checked(chunk) for chunk in self._runner.step()]

    def close(self, stream: int) -> None:
        self._given.pop(stream, None)
        self._runner.close(stream)

    def _checked(self, chunk: Chunk) -> Chunk:
        inputs = self._given.get(chunk.stream, {})
        if chunk.last or chunk.error is not None:
            self._given.pop(chunk.stream, None)
        if chunk.outputs is None:
            return chunk
        try:
            return Chunk(chunk.stream, self._checked_outputs(chunk.outputs, inputs, 1), chunk.last)
        except Exception as err:
            self.close(chunk.stream)
            return Chunk(chunk.stream, last=True, error=err)

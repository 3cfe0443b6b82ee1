"""The seam between the engine and the frameworks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

#: What a file answers: arrays by name if it names its outputs, and else in its order.
FileAnswer = dict[str, NDArray[Any]] | list[NDArray[Any]]


class ModelMismatchError(Exception):
    """A model's file does not do what its manifest says. The text is for the model's owner: both sides and the remedy."""


@dataclass(frozen=True, slots=True)
class FileTensor:
    """An input as a model's file declares it.

    Attributes:
        name: its name in the file; None if the file does not name its inputs.
        datatype: of the Open Inference Protocol, or the framework's own if that has none; None if the file is silent.
        shape: with the batch, -1 for a dimension that varies; None if the file does not say.
        required: false if the file has a value for it.
    """

    name: str | None
    datatype: str | None = None
    shape: tuple[int, ...] | None = None
    required: bool = True


def tell_nobody() -> None:
    """The ``tell_progress`` of a runner until another is set."""


class Runner(Protocol):
    """The file of a model, loaded; the module of each format has a ``load(path, manifest, threads)`` that returns one.

    A runner whose runs can be long may have an attribute ``tell_progress: Callable[[], None]``, set from outside, which
    it calls every few seconds of a run. Without it, a run that takes much longer than those before is taken for a hang.
    A runner that wraps another passes it on.
    """

    @property
    def inputs(self) -> Sequence[FileTensor]:
        """What the file takes, in its order: all with a name, or none."""
        ...

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        """Run the tensors ``[N, ...]`` of a batch, in the order of ``inputs``; None for one that is left out.

        BYTES are object arrays of ``bytes``, in and out. Blocks. Called from one thread at a time.

        Raises:
            UnicodeDecodeError: for a text that is not UTF-8, if the framework's strings are.
            Exception: whatever the framework raises.
        """
        ...

    def changed_state(self) -> list[str]:
        """Return the names of the weights and buffers that runs have changed since the file was loaded."""
        ...


class PassesProgressOn:
    """What a wrapper of a runner has for its ``tell_progress``, which it sets if the runner has one."""

    _runner: Runner

    @property
    def tell_progress(self) -> Callable[[], None]:
        """What the runner calls during a long run, if it does."""
        return getattr(self._runner, "tell_progress", tell_nobody)

    @tell_progress.setter
    def tell_progress(self, tell: Callable[[], None]) -> None:
        if hasattr(self._runner, "tell_progress"):
            self._runner.tell_progress = tell


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step gave one stream: outputs by name (a single row, `[1, ...]` each), an error, or neither.

    Attributes:
        stream: its number.
        outputs: as ``Runner.run`` gives them, of one row.
        last: the stream has ended.
        error: the stream has ended with it.
    """

    stream: int
    outputs: FileAnswer | None = None
    last: bool = False
    error: Exception | None = None


class StreamingRunner(Protocol):
    """The file of a model whose manifest says ``stream: true``: it answers one row with many chunks.

    The module of a format that can stream has a ``load_streaming(path, manifest, threads)`` that returns one.

    All methods are called from one thread. Steps should be short: between two of them the process hears of new streams
    and of those whose caller has left.

    A runner whose streams can wait may have an attribute ``paused: set[int]``, empty at first: the streams whose readers
    are behind, kept up to date from outside. ``step`` leaves them alone, and is not called while all open streams are
    among them. Without it, what is not read yet is kept: its streams must have an end.
    """

    @property
    def inputs(self) -> Sequence[FileTensor]:
        """What the file takes, in its order: all with a name, or none."""
        ...

    @property
    def most_streams(self) -> int:
        """How many may be open at once."""
        ...

    def open(self, stream: int, inputs: Sequence[NDArray[Any] | None]) -> None:
        """Begin a stream with one row, ``[1, ...]`` each, in the order of ``inputs``; None for one that is left out.

        Raises:
            PenstockError: 422; it refuses this stream alone.
            Exception: whatever the framework raises, for this stream alone.
        """
        ...

    def step(self) -> list[Chunk]:
        """Run one step, which all open streams share, and return what it gave; nothing if nothing came.

        Called while any stream is open. May block, for some milliseconds without progress.

        Raises:
            Exception: whatever the framework raises; it ends all open streams.
        """
        ...

    def close(self, stream: int) -> None:
        """Free what a stream holds: its caller has left, or its time is up. A number that is not open is ignored."""
        ...

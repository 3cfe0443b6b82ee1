"""The seam between the engine and the frameworks."""

from __future__ import annotations

from collections.abc import Sequence
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


class Runner(Protocol):
    """The file of a model, loaded; the module of each format has a ``load(path, manifest, threads)`` that returns one."""

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

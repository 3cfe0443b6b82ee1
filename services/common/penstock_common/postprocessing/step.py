"""What a post-processing step is: its parameters, what it reads and gives, and its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from numpy.typing import NDArray

from penstock_common.manifest import Manifest, Output

P = TypeVar("P", bound=msgspec.Struct)


class NoParams(msgspec.Struct, forbid_unknown_fields=True):
    """Of a step that has none."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step is given besides its parameters.

    Attributes:
        manifest: of the model.
        output: the manifest's output that the step gives.
        tensors: of the file, ``[rows, ...]`` each: that output, and then those of ``Step.reads``.
        inputs: what the clients sent, ``[rows, ...]`` for each field.
        folder: of the artifact, for a step that reads a file of it.
    """

    manifest: Manifest
    output: Output
    tensors: list[NDArray[Any]]
    inputs: Mapping[str, NDArray[Any]]
    folder: Path


def _nothing(params: msgspec.Struct) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """A step of the table in ``steps.py``.

    Attributes:
        params: its parameters, a struct that refuses keys that it does not have.
        check: raises ValueError, naming the place and the remedy, if an output of the manifest is not what it gives.
        run: returns the outputs of a batch: ``Batch.output``, and then those of ``gives``; raises PenstockError, 500
            ``bad-model-answer``, if the file gives what it cannot work on.
        reads: names of outputs of the file that it takes beside its own.
        gives: names of outputs of the manifest that it gives beside its own, and that the file does not have.
        files: paths in the artifact of the files that it reads.
        binary: true if the BYTES that it gives are files, and not texts.
    """

    params: type[P]
    check: Callable[[Manifest, Output, P], None]
    run: Callable[[Batch, P], list[NDArray[Any]]]
    reads: Callable[[P], list[str]] = _nothing
    gives: Callable[[P], list[str]] = _nothing
    files: Callable[[P], list[str]] = _nothing
    binary: bool = False


def described(array: NDArray[Any]) -> str:
    """Return the type and the shape of an array for an error."""
    return f"{array.dtype.name} {list(array.shape)}"

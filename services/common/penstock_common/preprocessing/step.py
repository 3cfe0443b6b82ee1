"""What a pre-processing step is: its parameters, the tensors that it gives, and its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from penstock_common.manifest import Field, FieldKind, Manifest

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """A tensor that a step gives to the model's file.

    Attributes:
        name: of the input in the file.
        datatype: of the Open Inference Protocol.
        shape: of one row; -1 for a dimension that varies.
        optional: true if the file need not take it, because it has no elements.
        may_be_absent: true if a request may lack it, so that the file must do without.
        batch_axis: of the file's tensor; None if that has no rows.
        any_datatype: true if the file gets it in whatever numbers it takes, such as a mask.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    may_be_absent: bool = False
    batch_axis: int | None = 0
    any_datatype: bool = False

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape of the file's tensor: the rows, -1, are where the batch axis says."""
        if self.batch_axis is None:
            return self.shape
        return (*self.shape[: self.batch_axis], -1, *self.shape[self.batch_axis :])


def _no_files(params: object) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """A step of the table in ``steps.py``.

    Attributes:
        params: the ``msgspec.Struct`` of its parameters, which refuses keys that it does not have.
        tensors: what it gives, in order; raises ValueError if the manifest's fields are not those it takes.
        run: returns these tensors for a batch ``[N, ...]`` of the fields; its last argument is the artifact's folder.
        files: paths in the artifact of the files that it reads.
    """

    params: type[P]
    tensors: Callable[[Manifest, P], list[ModelTensor]]
    run: Callable[[Manifest, Mapping[str, NDArray[Any]], P, Path], list[NDArray[Any]]]
    files: Callable[[P], list[str]] = _no_files


def only_field(manifest: Manifest, kind: FieldKind) -> Field:
    """Return the single field of a step that takes one; raise ValueError if there are others, or of another kind."""
    kinds = [f"{field.name} ({field.kind})" for field in manifest.client_inputs]
    if [field.kind for field in manifest.client_inputs] != [kind] or manifest.client_inputs[0].has_images:
        raise ValueError(f"takes one input of kind {kind}; inputs has {', '.join(kinds)}")
    return manifest.client_inputs[0]

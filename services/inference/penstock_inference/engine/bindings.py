"""Which tensor of a manifest is which of its model's file: by name, and by position if the file has no names.

A lone tensor on both sides is bound whatever it is called, since nothing can be confused with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, Output
from penstock_common.preprocessing.step import ModelTensor
from penstock_common.preprocessing.steps import model_tensors
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError


class InputBinding:
    """Puts the tensors of the pre-processing into the order of the file.

    Args:
        taken: the inputs of the file.

    Raises:
        ModelMismatchError: listing both sides, if they do not fit by name, type or shape.
    """

    def __init__(self, manifest: Manifest, taken: Sequence[FileTensor]) -> None:
        given = model_tensors(manifest)
        self._positions = _match(given, taken)
        self._arrange: list[Callable[[NDArray[Any]], NDArray[Any]]] = []
        for tensor, position in zip(taken, self._positions, strict=True):
            if position is None:
                self._arrange.append(_as_it_is)
                continue
            own = given[position]
            if not own.shape and own.batch_axis == 0 and tensor.shape is not None and len(tensor.shape) == 2:
                own = replace(own, shape=(1,))
                self._arrange.append(_as_column)
            else:
                self._arrange.append(_arrangement(own, tensor))
            _check_fit(own, tensor)
            _check_batch(own.batch_axis, tensor, manifest.batching.max_batch_size)

    def bind(self, arrays: Sequence[NDArray[Any] | None]) -> list[NDArray[Any] | None]:
        """Return an array for each input of the file as the file has it; None for one that is left out.

        Args:
            arrays: of ``model_tensors``, ``[rows, *shape]`` each; None for one that is absent.
        """
        given = [None if position is None else arrays[position] for position in self._positions]
        return [None if array is None else arrange(array) for array, arrange in zip(given, self._arrange, strict=True)]


class OutputBinding:
    """Finds outputs in the answer of a file, which may have more.

    Args:
        wanted: as the manifest names them.
        answer: the first that the file gave; later ones have the same names.
        batch: whether the file's tensors have rows.

    Raises:
        ModelMismatchError: listing both sides, if an output is not there, or if position does not tell them apart.
    """

    def __init__(self, wanted: Sequence[Output], answer: FileAnswer, *, batch: bool) -> None:
        self._keys: list[Any] = [output.source or output.name for output in wanted]
        if isinstance(answer, list):
            by_position = [str(i) for i in range(len(answer))]
            if len(answer) == len(wanted) and not any(output.source for output in wanted):
                self._keys = by_position
            self._keys = [by_position.index(key) if key in by_position else None for key in self._keys]
        elif len(answer) == len(wanted) == 1:
            self._keys = list(answer)
        else:
            self._keys = [key if key in answer else None for key in self._keys]
        if None in self._keys or len(set(self._keys)) < len(wanted):
            raise _outputs_mismatch(wanted, answer)
        self._axes: list[int | None] = [output.batch_axis if batch else None for output in wanted]

    def take(self, answer: FileAnswer) -> list[NDArray[Any]]:
        """Return the outputs in the order in which they were wanted, ``[rows, *shape]`` each.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if one is not there.
        """
        try:
            return [_rows_first(answer[key], axis) for key, axis in zip(self._keys, self._axes, strict=True)]
        except (KeyError, IndexError):
            raise PenstockError(500, "bad-model-answer", f"The model's answer lacks one of {self._keys}.") from None


def _match(given: Sequence[ModelTensor], taken: Sequence[FileTensor]) -> list[int | None]:
    """Return the position among ``given`` for each tensor of the file; None for one that is left out."""
    must_give = [i for i, tensor in enumerate(given) if not tensor.optional]
    must_take = [i for i, tensor in enumerate(taken) if tensor.required]
    positions: list[int | None]
    if any(tensor.name is None for tensor in taken):
        in_order = must_give if len(must_give) == len(taken) else list(range(len(given)))
        positions = [*in_order, *[None] * len(taken)][: len(taken)]
    else:
        by_name = {tensor.name: i for i, tensor in enumerate(given)}
        positions = [by_name.get(str(tensor.name)) for tensor in taken]
        if len(must_give) == len(must_take) == 1 and positions == [None] * len(taken):
            positions[must_take[0]] = must_give[0]
    if not set(must_give) <= set(positions) or any(positions[i] is None for i in must_take):
        raise ModelMismatchError(
            f"The manifest gives {_listed([_described(t.name, t.datatype, t.file_shape) for t in given])}; "
            f"the file takes {_listed([_described(t.name, t.datatype, t.shape) for t in taken])}. Name the inputs of the "
            "manifest as the file does, or set their `source` to the file's name."
        )
    absent = [given[p].name for i in must_take if (p := positions[i]) is not None and given[p].may_be_absent]
    if absent:
        raise ModelMismatchError(
            f"The file cannot do without its input {absent[0]!r}: give it a default in the manifest, or require it."
        )
    return positions


def _as_it_is(array: NDArray[Any]) -> NDArray[Any]:
    return array


def _as_column(array: NDArray[Any]) -> NDArray[Any]:
    return array[:, None]


def _arrangement(given: ModelTensor, taken: FileTensor) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what makes of ``[rows, *shape]`` the tensor that the file takes."""
    axis = given.batch_axis
    if given.any_datatype and taken.datatype in NUMPY_DTYPES:
        dtype = NUMPY_DTYPES[taken.datatype]
        return lambda array: array.astype(dtype)
    if axis is None:
        return lambda array: array[:1].reshape(array.shape[1:])
    if axis:
        return lambda array: np.ascontiguousarray(np.moveaxis(array, 0, axis))
    return _as_it_is


def _rows_first(output: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return an output of the file with the batch at its first axis, if it has the axis where the batch should be."""
    if axis is None:
        return np.asarray(output)[np.newaxis]
    return np.moveaxis(output, axis, 0) if axis and axis < output.ndim else output


def _check_fit(given: ModelTensor, taken: FileTensor) -> None:
    """Raise ModelMismatchError if the file takes another type or shape than it is given, as far as it says."""
    shape = given.file_shape
    fits = (taken.datatype in (None, given.datatype) or given.any_datatype) and (
        taken.shape is None
        or (
            len(taken.shape) == len(shape)
            and all(a == b or -1 in (a, b) for a, b in zip(shape, taken.shape, strict=True))
        )
    )
    if not fits:
        raise ModelMismatchError(
            f"Input {given.name!r}: the manifest gives {_described('', given.datatype, shape)}, "
            f"the file takes {_described('', taken.datatype, taken.shape)}."
        )


def _check_batch(axis: int | None, taken: FileTensor, max_batch_size: int) -> None:
    """Raise ModelMismatchError if the file takes a fixed number of rows, unless both sides agree on one."""
    rows = -1 if axis is None or not taken.shape else taken.shape[axis]
    if rows == -1 or rows == max_batch_size == 1:
        return
    remedy = (
        "Export it with a first dimension that varies"
        if axis == 0
        else f"Export it with a dimension {axis} that varies"
    )
    if rows == 1:
        remedy += ", or set batching: {max_batch_size: 1}"
    raise ModelMismatchError(
        f"The file takes exactly {rows} rows at once: its input {taken.name!r} is {list(taken.shape or ())}. {remedy}."
    )


def _outputs_mismatch(wanted: Sequence[Output], answer: FileAnswer) -> ModelMismatchError:
    names = _listed([repr(output.source or output.name) for output in wanted])
    if isinstance(answer, list):
        return ModelMismatchError(
            f"The manifest names {len(wanted)} outputs ({names}); the file gives {len(answer)} without names. Name all of "
            'them in its order, or set `source` to the position of each that you want, "0" for the first.'
        )
    return ModelMismatchError(
        f"The manifest names the outputs {names}; the file gives {_listed([repr(name) for name in answer])}. Name the "
        "outputs of the manifest as the file does, or set their `source` to the file's name."
    )


def _described(name: str | None, datatype: str | None, shape: Sequence[int] | None) -> str:
    parts = [repr(name) if name else "", datatype or "", str(list(shape)) if shape is not None else ""]
    return " ".join(filter(None, parts)) or "a tensor"


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items) or "nothing"

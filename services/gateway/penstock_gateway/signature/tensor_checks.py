"""The checkers of tensors, in nested lists whose sizes may vary."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock_common.dimensions import check_elements, is_size
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.bytes_checks import TextCheck
from penstock_gateway.signature.field_check import FieldCheck, invalid, shown
from penstock_gateway.signature.numeric_checks import NumericCheck


class TensorRow(NamedTuple):
    """The tensor of one row, raw."""

    raw: bytes
    shape: tuple[int, ...]


class TensorCheck(NumericCheck):
    """Nested lists of numbers or booleans."""

    def json(self, value: Any) -> TensorRow:
        flat, shape = flatten(self.field, value)
        if not set(map(type, flat)) <= set(self._types):
            flat = [v if type(v) in self._types else self._whole(v) for v in flat]
        if self._dtype.kind != "b" and not (self._low <= min(flat) and max(flat) <= self._high):
            raise self._outside(next(v for v in flat if not self._low <= v <= self._high))
        return TensorRow(np.array(flat, dtype=self._dtype).tobytes(), shape)

    def pack(self, elements: Sequence[TensorRow]) -> bytes:
        return b"".join([row.raw for row in elements])

    def row_shape(self, element: TensorRow) -> tuple[int, ...]:
        return element.shape


class BytesTensorCheck(FieldCheck):
    """Nested lists of strings."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._text = TextCheck(field)

    def json(self, value: Any) -> TensorRow:
        flat, shape = flatten(self.field, value)
        return TensorRow(pack_bytes([self._text.json(v) for v in flat]), shape)

    def array(self, array: NDArray[Any]) -> bytes:
        return self._text.array(array)

    def pack(self, elements: Sequence[TensorRow]) -> bytes:
        return b"".join([row.raw for row in elements])

    def row_shape(self, element: TensorRow) -> tuple[int, ...]:
        return element.shape


def flatten(field: Field, value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The elements of nested lists, row-major, and their shape.

    Raises:
        PenstockError: 422 ``invalid-input`` if it is not the field's.
    """
    flat = [value]
    shape: list[int] = []
    for wanted in field.shape:
        if set(map(type, flat)) != {list}:
            raise _not_the_shape(field, value)
        size = wanted if is_size(wanted) else len(flat[0])
        if not size or any(len(part) != size for part in flat):
            raise _not_the_shape(field, value)
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    check_row(field, shape)
    return flat, tuple(shape)


def check_row(field: Field, shape: Sequence[int]) -> None:
    """Refuse a row that is too large.

    Raises:
        PenstockError: 422 ``invalid-input``.
    """
    try:
        check_elements(field, shape)
    except ValueError as err:
        raise invalid(field.name, f"{err}; send less") from None


def _not_the_shape(field: Field, value: Any) -> PenstockError:
    if len(field.shape) == 1:
        count = "at least one element" if field.varies else f"{field.shape[0]} elements"
        return invalid(field.name, f"must be a list of {count}, got {shown(value)}")
    what = "of one length at each depth, none empty, " if field.varies else ""
    return invalid(field.name, f"must be nested lists {what}of shape {field.shape}, got {shown(value)}")

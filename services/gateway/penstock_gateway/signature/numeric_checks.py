"""The checkers of numbers and booleans."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_common.tensors import LARGEST_FLOATS, NUMPY_DTYPES, kind_of, to_raw
from penstock_gateway.signature.field_check import FieldCheck, invalid, shown

_STRUCT_CODES = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


class NumericCheck(FieldCheck):
    """Numbers and booleans."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._dtype = NUMPY_DTYPES[field.datatype]
        self._types: tuple[type, ...]
        self._types, self._wanted = {
            "b": ((bool,), "true or false"),
            "f": ((float, int), "a number"),
        }.get(kind_of(self._dtype), ((int,), "a whole number"))
        self._low, self._high = bounds(field)
        #: Empty for BF16, which the module struct does not know.
        self._code = _STRUCT_CODES.get(field.datatype, "")
        self._pack_one = struct.Struct("<" + self._code).pack

    def json(self, value: Any) -> Any:
        if type(value) not in self._types:
            value = self._whole(value)
        if not self._low <= value <= self._high:  # false for NaN too
            raise self._outside(value)
        return value

    def array(self, array: NDArray[Any]) -> bytes:
        good = (array >= self._low) & (array <= self._high)
        if not good.all():
            at = int(np.argmin(good))
            row = at // math.prod(array.shape[1:])
            err = self._outside(array.ravel()[at].item())
            err.extra["row"] = row
            raise err
        return to_raw(array, self.field.datatype)

    def pack(self, elements: Sequence[Any]) -> bytes:
        if not self._code:
            return np.array(elements, dtype=self._dtype).tobytes()
        if len(elements) == 1:
            return self._pack_one(elements[0])
        return struct.pack(f"<{len(elements)}{self._code}", *elements)

    def _whole(self, value: Any) -> int:
        """The whole number that JSON may write as 1.0 or 1e3."""
        if int not in self._types or type(value) is not float or not value.is_integer():
            raise invalid(self.name, f"must be {self._wanted}, got {shown(value)}")
        return int(value)

    def _outside(self, value: float) -> PenstockError:
        if isinstance(value, float) and not math.isfinite(value):
            return invalid(self.name, f"is {value}; send a finite number")
        return invalid(self.name, f"{shown(value)} is out of bounds; send {_range(self._low, self._high)}")


def bounds(field: Field) -> tuple[float, float]:
    """The field's own bounds within those of its datatype."""
    dtype: Any = NUMPY_DTYPES[field.datatype]
    low: float
    high: float
    if dtype.kind == "b":
        return False, True
    if field.datatype in LARGEST_FLOATS:
        high = LARGEST_FLOATS[field.datatype]
        low = -high
    else:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if field.minimum is not None:
        low = max(low, field.minimum)
    if field.maximum is not None:
        high = min(high, field.maximum)
    return low, high


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if isinstance(low, float) or isinstance(high, float) else f"{low} to {high}"

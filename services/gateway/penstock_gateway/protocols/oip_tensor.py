"""A tensor in the body of an Open Inference Protocol request: JSON data, or bytes behind the JSON."""

from __future__ import annotations

import math
from functools import cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.tensors import NUMPY_DTYPES, from_raw, kind_of

_JSON_TYPES: dict[str, Any] = {"b": bool, "f": float, "O": str}


class OipTensor(msgspec.Struct):
    """A named tensor whose data is decoded when it is asked for.

    ``data`` is JSON text; ``binary`` takes its place in binary data.
    """

    name: str
    datatype: str
    shape: list[int]
    data: msgspec.Raw
    binary: bytes | None = None

    def array(self) -> NDArray[Any]:
        """The data, of this datatype and shape.

        Raises:
            PenstockError: 400 ``bad-tensor``.
        """
        if self.binary is not None:
            return from_raw(self.binary, self.datatype, self.shape, where=f"input {self.name!r}")
        dtype = NUMPY_DTYPES[self.datatype]
        flat = self._flat(kind_of(dtype))
        if self.datatype == "BYTES":
            array = np.empty(len(flat), dtype=np.object_)
            array[:] = [text.encode() for text in flat]
            return array.reshape(self.shape)
        try:
            with np.errstate(over="raise"):
                array = np.array(flat, dtype=np.float64 if kind_of(dtype) == "f" else dtype)
                return array.astype(dtype).reshape(self.shape)
        except (OverflowError, FloatingPointError):
            raise self._bad(f"a value is out of range for {self.datatype}") from None

    def _flat(self, kind: str) -> list[Any]:
        """Row-major elements; the data is flat, or nested as the shape says."""
        count = math.prod(self.shape)
        data = bytes(self.data)
        # Numbers hold no commas: their count is known before any of them is parsed.
        commas = data.count(b",")
        if commas + 1 < count or (commas + 1 != count and kind != "O"):
            raise self._bad(f"shape {self.shape} needs {count} elements, got {commas + 1}")
        nested = data[1:].lstrip(b" \t\r\n").startswith(b"[")
        try:
            level: list[Any] = [_decoder(kind, len(self.shape) if nested else 1).decode(data)]
        except msgspec.ValidationError as err:
            raise self._bad(f"the data is not {self.datatype} of shape {self.shape}: {err}") from None
        for size in self.shape if nested else [count]:
            if any(len(part) != size for part in level):
                raise self._bad(f"the data does not have shape {self.shape}")
            level = list(chain.from_iterable(level))
        if kind in "iu" and float in set(map(type, level)):  # JSON's 1.0 is a whole number too
            if not all(map(float.is_integer, map(float, level))):
                raise self._bad(f"a value is not a whole number, which {self.datatype} needs")
            level = list(map(int, level))
        return level

    def _bad(self, what: str) -> PenstockError:
        return bad_tensor(f"input {self.name[:80]!r}", what)


def bad_tensor(where: str, what: str) -> PenstockError:
    return PenstockError(400, "bad-tensor", f"{where}: {what}.")


@cache
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[list[Any]]:
    """Reads JSON lists, nested ``depth`` deep, of one kind of numpy's types."""
    data: Any = _JSON_TYPES.get(kind, int | float)
    for _ in range(depth):
        data = list[data]
    return msgspec.json.Decoder(data)

"""One checker per kind of field: from what a client sends to tensor elements.

A checker turns one JSON value (``json``), one text of a form (``form``) or one
OIP array (``array``) into wire elements, or raises 422 ``invalid-input``.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind
from penstock_common.tensors import NUMPY_DTYPES, pack_bytes, to_raw

MAX_IMAGE_BYTES = 10_000_000
_SHOWN = 80
_LENGTH = struct.Struct("<I")

_STRUCT_CODES = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


def shown(value: object) -> str:
    """A value as an error message quotes it."""
    text = repr(value[: _SHOWN + 1] if isinstance(value, (str, bytes, list)) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def invalid(name: str, what: str, status: int = 422, code: str = "invalid-input") -> PenstockError:
    return PenstockError(status, code, f"Field '{name}': {what}.", extra={"field": name})


class FieldCheck:
    """The checks of one field; subclasses are chosen by ``field_check``."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.name = field.name

    def json(self, value: Any) -> Any:
        """One checked element of the row from a decoded JSON value."""
        raise NotImplementedError

    def form(self, value: str | bytes) -> Any:
        """One checked element from a multipart form's text or file."""
        try:
            parsed = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            parsed = value if isinstance(value, str) else "<file>"
        return self.json(parsed)

    def array(self, array: NDArray[Any]) -> bytes:
        """The raw tensor of a whole OIP array whose dtype and shape already fit."""
        raise NotImplementedError

    def pack(self, elements: Sequence[Any]) -> bytes:
        """The raw tensor of checked elements."""
        raise NotImplementedError

    def _row_error(self, err: PenstockError, row: int) -> PenstockError:
        err.extra["row"] = row
        return err


class BytesCheck(FieldCheck):
    """Fields that travel as BYTES: ``binary`` checks the bytes themselves."""

    def binary(self, value: bytes) -> bytes:
        raise NotImplementedError

    def form(self, value: str | bytes) -> Any:
        return self.json(value) if isinstance(value, str) else self.binary(value)

    def array(self, array: NDArray[Any]) -> bytes:
        elements = []
        for row, value in enumerate(array.ravel().tolist()):
            try:
                elements.append(self.binary(value))
            except PenstockError as err:
                raise self._row_error(err, row) from None
        return pack_bytes(elements)

    def pack(self, elements: Sequence[bytes]) -> bytes:
        if len(elements) == 1:
            element = elements[0]
            return _LENGTH.pack(len(element)) + element
        return pack_bytes(elements)

    def _utf8(self, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError as err:
            raise invalid(self.name, f"is not valid UTF-8 (byte {err.start}); encode the text as UTF-8") from None


class TextCheck(BytesCheck):
    def json(self, value: Any) -> bytes:
        if type(value) is not str:
            raise invalid(self.name, f"must be a string, got {shown(value)}")
        limit = self.field.max_length
        if limit is not None and len(value) > limit:
            raise invalid(
                self.name, f"has {len(value)} characters, {limit} are allowed; shorten the text {shown(value)}"
            )
        return value.encode()

    def binary(self, value: bytes) -> bytes:
        return self.json(self._utf8(value))


class CategoryCheck(BytesCheck):
    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._encoded = {c: c.encode() for c in field.categories or ()}

    def json(self, value: Any) -> bytes:
        encoded = self._encoded.get(value) if type(value) is str else None
        if encoded is None:
            known = list(self._encoded)
            more = f" and {len(known) - 10} more" if len(known) > 10 else ""
            raise invalid(self.name, f"{shown(value)} is none of {', '.join(known[:10])}{more}")
        return encoded

    def binary(self, value: bytes) -> bytes:
        return self.json(self._utf8(value))


class ImageCheck(BytesCheck):
    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._limit = field.max_length or MAX_IMAGE_BYTES

    def json(self, value: Any) -> bytes:
        if type(value) is not str:
            raise invalid(self.name, f"must be an image as a base64 string or a file upload, got {shown(value)}")
        encoded = value.partition(",")[2] if value.startswith("data:") else value
        if len(encoded) * 3 // 4 > self._limit + 2:
            raise self._too_large(len(encoded) * 3 // 4)
        try:
            return self.binary(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            raise invalid(self.name, f"is not valid base64: {shown(value)}; send base64 or upload a file") from None

    def binary(self, value: bytes) -> bytes:
        if len(value) > self._limit:
            raise self._too_large(len(value))
        if not is_image(value):
            raise invalid(
                self.name,
                f"is no image this service reads (it starts with {value[:8]!r}); send a PNG, JPEG or WebP",
                415,
                "unsupported-image",
            )
        return value

    def _too_large(self, size: int) -> PenstockError:
        what = f"the image has {size} bytes, {self._limit} are allowed; send a smaller one"
        return invalid(self.name, what, 413, "image-too-large")


def is_image(value: bytes) -> bool:
    """Whether the first bytes are those of a PNG, JPEG or WebP."""
    return value.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (
        value[:4] == b"RIFF" and value[8:12] == b"WEBP"
    )


class NumericCheck(FieldCheck):
    """Scalars and tensors of numbers and booleans."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._dtype = NUMPY_DTYPES[field.datatype]
        self._types: tuple[type, ...]
        self._types, self._wanted = {
            "b": ((bool,), "true or false"),
            "f": ((float, int), "a number"),
        }.get(self._dtype.kind, ((int,), "a whole number"))
        self._low, self._high = _bounds(field)
        self._code = _STRUCT_CODES[field.datatype]
        self._pack_one: Callable[[Any], bytes] = struct.Struct("<" + self._code).pack

    def json(self, value: Any) -> Any:
        if type(value) not in self._types:
            raise invalid(self.name, f"must be {self._wanted}, got {shown(value)}")
        if not self._low <= value <= self._high:  # false for NaN too
            raise self._outside(value)
        return value

    def array(self, array: NDArray[Any]) -> bytes:
        good = (array >= self._low) & (array <= self._high)
        if not good.all():
            at = int(np.argmin(good))
            row = at // max(1, math.prod(self.field.shape))
            raise self._row_error(self._outside(array.ravel()[at].item()), row)
        return to_raw(array, self.field.datatype)

    def pack(self, elements: Sequence[Any]) -> bytes:
        if len(elements) == 1:
            return self._pack_one(elements[0])
        return struct.pack(f"<{len(elements)}{self._code}", *elements)

    def _outside(self, value: float) -> PenstockError:
        if not math.isfinite(value):
            return invalid(self.name, f"is {value}; send a finite number")
        return invalid(self.name, f"{shown(value)} is out of bounds; send {_range(self._low, self._high)}")


class TensorCheck(NumericCheck):
    """Nested lists of ``shape``; an element is the raw bytes of one row."""

    def json(self, value: Any) -> bytes:
        flat = self._flatten(value)
        if not set(map(type, flat)) <= set(self._types):
            wrong = next(v for v in flat if type(v) not in self._types)
            raise invalid(self.name, f"every element must be {self._wanted}, got {shown(wrong)}")
        if self._dtype.kind != "b" and not (self._low <= min(flat) and max(flat) <= self._high):
            raise self._outside(next(v for v in flat if not self._low <= v <= self._high))
        return np.array(flat, dtype=self._dtype).tobytes()

    def pack(self, elements: Sequence[bytes]) -> bytes:
        return b"".join(elements)

    def _flatten(self, value: Any) -> list[Any]:
        flat = [value]
        for size in self.field.shape:
            if any(type(part) is not list or len(part) != size for part in flat):
                raise invalid(self.name, f"must be nested lists of shape {self.field.shape}, got {shown(value)}")
            flat = list(chain.from_iterable(flat))
        return flat


class BytesTensorCheck(TensorCheck):
    """Nested lists of strings."""

    def __init__(self, field: Field) -> None:
        FieldCheck.__init__(self, field)
        self._text = TextCheck(field)

    def json(self, value: Any) -> bytes:
        return pack_bytes([self._text.json(v) for v in self._flatten(value)])

    def array(self, array: NDArray[Any]) -> bytes:
        return self._text.array(array)


def _bounds(field: Field) -> tuple[float, float]:
    """The field's own bounds within those of its datatype."""
    dtype = NUMPY_DTYPES[field.datatype]
    low: float
    high: float
    if dtype.kind == "b":
        return False, True
    if dtype.kind == "f":
        high = float(np.finfo(dtype).max)
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


_CHECKS: dict[FieldKind, type[FieldCheck]] = {
    FieldKind.TEXT: TextCheck,
    FieldKind.CATEGORY: CategoryCheck,
    FieldKind.IMAGE: ImageCheck,
    FieldKind.NUMBER: NumericCheck,
    FieldKind.INTEGER: NumericCheck,
    FieldKind.BOOLEAN: NumericCheck,
    FieldKind.TENSOR: TensorCheck,
}


def field_check(field: Field) -> FieldCheck:
    if field.kind is FieldKind.TENSOR and field.datatype == "BYTES":
        return BytesTensorCheck(field)
    return _CHECKS[field.kind](field)

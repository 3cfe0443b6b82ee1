"""The checkers of text and category fields, which travel as BYTES."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.field_check import FieldCheck, invalid, shown

_LENGTH = struct.Struct("<I")


class BytesCheck(FieldCheck):
    """Fields that travel as BYTES: ``binary`` checks the bytes themselves."""

    def binary(self, value: bytes) -> bytes:
        raise NotImplementedError

    def form(self, value: str | bytes) -> Any:
        return self.json(value) if isinstance(value, str) else self.binary(value)

    def array(self, array: NDArray[Any]) -> bytes:
        elements = []
        for i, value in enumerate(array.ravel().tolist()):
            try:
                elements.append(self.binary(value))
            except PenstockError as err:
                err.extra["row"] = i // math.prod(array.shape[1:])
                raise
        return self.pack(elements)

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

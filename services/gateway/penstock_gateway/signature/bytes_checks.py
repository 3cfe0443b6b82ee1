"""The checkers of text, category and image fields, which travel as BYTES."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.field_check import FieldCheck, invalid, shown

MAX_IMAGE_BYTES = 10_000_000
_LENGTH = struct.Struct("<I")


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
                err.extra["row"] = row
                raise
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
                f"is not an image that this service reads (it starts with {value[:8]!r}); send a PNG, JPEG or WebP",
                415,
                "unsupported-image",
            )
        return value

    def _too_large(self, size: int) -> PenstockError:
        what = f"the image has {size} bytes, {self._limit} are allowed; send a smaller one"
        return invalid(self.name, what, 413, "image-too-large")


def is_image(value: bytes) -> bool:
    """Whether a file starts as a PNG, JPEG or WebP does."""
    return value.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (
        value[:4] == b"RIFF" and value[8:12] == b"WEBP"
    )

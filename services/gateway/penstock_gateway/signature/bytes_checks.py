"""The checkers of text, category and image fields, which travel as BYTES."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_common.manifest_values import MAX_IMAGE_BYTES
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.field_check import FieldCheck, invalid, shown
from penstock_gateway.signature.image_header import MAX_SEGMENTS, ImageHeader, read_header

#: Of one image; the pods have the same bound.
MAX_IMAGE_PIXELS = 50_000_000
#: Of all the images of a field in one request, those of a JPEG once for each scan: about 2 CPU seconds.
MAX_REQUEST_PIXELS = 200_000_000
#: Of one JPEG; encoders write about 10 for a progressive one.
MAX_SCANS = 64
#: How a PNG, JPEG or WebP starts in base64, and a data URL of any.
_BASE64_IMAGES = (b"iVBORw0KGgo", b"/9j/", b"UklGR", b"data:image/")
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


class ImageCheck(BytesCheck):
    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._limit = field.max_length or MAX_IMAGE_BYTES

    def json(self, value: Any) -> bytes:
        if type(value) is not str:
            raise invalid(self.name, f"must be an image as a base64 string or a file upload, got {shown(value)}")
        encoded = value.partition(",")[2] if value.startswith("data:") else value
        if len(encoded) * 3 // 4 > self._limit + 2:
            what = f"has about {len(encoded) * 3 // 4} bytes, {self._limit} are allowed; send a smaller one"
            raise self._too_large(what)
        try:
            return self.binary(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            raise invalid(self.name, f"is not valid base64: {shown(value)}; send base64 or upload a file") from None

    def binary(self, value: bytes) -> bytes:
        if len(value) > self._limit:
            raise self._too_large(f"has {len(value)} bytes, {self._limit} are allowed; send a smaller one")
        _check_work([self._header(value)], self._too_large)
        return value

    def array(self, array: NDArray[Any]) -> bytes:
        try:
            return super().array(array)
        except PenstockError as err:
            if err.status == 415 and array.ravel()[err.extra["row"]].startswith(_BASE64_IMAGES):
                err.detail += (
                    " It looks like base64: tensors carry the image's own bytes, as binary data "
                    "(parameter binary_data_size); base64 in JSON is read by /v1."
                )
            raise

    def pack(self, elements: Sequence[bytes]) -> bytes:
        if len(elements) > 1:
            _check_work([self._header(element) for element in elements], self._too_large)
        return super().pack(elements)

    def _header(self, value: bytes) -> ImageHeader:
        try:
            header = read_header(value)
        except ValueError as err:
            what = f"has more than {MAX_SEGMENTS} {err} before its pixels; save it without its metadata"
            raise self._too_large(what) from None
        if header is None:
            raise invalid(
                self.name,
                f"is not an image that this service reads (it starts with {value[:8]!r}); send a PNG, JPEG or WebP",
                415,
                "unsupported-image",
            )
        return header

    def _too_large(self, what: str) -> PenstockError:
        return invalid(self.name, f"the image {what}", 413, "image-too-large")


def _check_work(headers: Sequence[ImageHeader], too_large: Callable[[str], PenstockError]) -> None:
    """Refuse images whose decoding would take a pod too long.

    A decoder passes over all the pixels of an image once for each of its scans.
    """
    for header in headers:
        if header.pixels > MAX_IMAGE_PIXELS:
            raise too_large(f"has {header.pixels:,} pixels, {MAX_IMAGE_PIXELS:,} are allowed; send it smaller")
        if header.scans > MAX_SCANS:
            raise too_large(f"has {header.scans:,} scans, {MAX_SCANS} are allowed; save it as a baseline JPEG")
    work = sum(header.pixels * header.scans for header in headers)
    if work > MAX_REQUEST_PIXELS:
        raise too_large(
            f"and those of the request's other rows have {work:,} pixels, those of a JPEG counted once for each scan; "
            f"{MAX_REQUEST_PIXELS:,} are allowed; send fewer rows or smaller images"
        )

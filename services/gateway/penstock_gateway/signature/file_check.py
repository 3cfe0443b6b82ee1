"""The checker of fields that are files: in base64, as an upload, or as the bytes of a tensor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_common.manifest_values import max_bytes
from penstock_gateway.signature.bytes_checks import BytesCheck
from penstock_gateway.signature.field_check import invalid, shown


class FileCheck(BytesCheck):
    """Checks the size of a file, and what its header says.

    Args:
        what: what the file is, with its article: ``an image``.
        base64_starts: how such files start in base64.
    """

    def __init__(self, field: Field, what: str, base64_starts: tuple[bytes, ...]) -> None:
        super().__init__(field)
        self._limit = max_bytes(field)
        self._what = what
        self._base64_starts = base64_starts

    def json(self, value: Any) -> bytes:
        if type(value) is not str:
            raise invalid(self.name, f"must be {self._what} as a base64 string or a file upload, got {shown(value)}")
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
        self._check_headers([value])
        return value

    def array(self, array: NDArray[Any]) -> bytes:
        try:
            return super().array(array)
        except PenstockError as err:
            if err.status == 415 and array.ravel()[err.extra["row"]].startswith(self._base64_starts):
                err.detail += (
                    f" It looks like base64: tensors carry the bytes of {self._what} themselves, as binary data "
                    "(parameter binary_data_size); base64 in JSON is read by /v1."
                )
            raise

    def pack(self, elements: Sequence[bytes]) -> bytes:
        if len(elements) > 1:
            self._check_headers(elements)
        return super().pack(elements)

    def _check_headers(self, files: Sequence[bytes]) -> None:
        """Refuse files of other formats, or whose decoding would take a pod too long, each alone or together.

        Raises:
            PenstockError: 415, or what ``_too_large`` returns.
        """
        raise NotImplementedError

    def _too_large(self, what: str) -> PenstockError:
        """The error for a file of which ``what`` is said."""
        raise NotImplementedError

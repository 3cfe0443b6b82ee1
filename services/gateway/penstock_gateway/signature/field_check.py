"""The checker of a field: from what a client sends to tensor elements.

A checker turns one JSON value (``json``), one text of a form (``form``) or one
OIP array (``array``) into wire elements, or raises 422 ``invalid-input``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from penstock_common.dimensions import wire_shape
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_gateway.signature.row_type import value_type

_SHOWN = 80
_LONG = 10**_SHOWN


def shown(value: object) -> str:
    """A decoded JSON value as an error message quotes it, in bounded time and length."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of length {len(value)}"
    if isinstance(value, int) and abs(value) >= _LONG:
        return f"a whole number of more than {_SHOWN} digits"  # repr() of a long one takes quadratic time, or raises
    text = repr(value[: _SHOWN + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def in_field(name: str, refusal: PenstockError) -> PenstockError:
    """The refusal of a field's value, which names it."""
    refusal.detail = f"Field '{name}': {refusal.detail}"
    refusal.extra["field"] = name
    return refusal


def invalid(name: str, what: str, status: int = 422, code: str = "invalid-input") -> PenstockError:
    return PenstockError(status, code, f"Field '{name}': {what}.", extra={"field": name})


class FieldCheck:
    """The checks of one field."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.name = field.name
        self._shape = tuple(wire_shape(field.shape, batch=False))
        self._form_decoder = msgspec.json.Decoder(value_type(field))

    def json(self, value: Any) -> Any:
        """One checked element of the row from a decoded JSON value."""
        raise NotImplementedError

    def form(self, value: str | bytes) -> Any:
        """One checked element from a multipart form's text or file."""
        try:
            parsed = self._form_decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            parsed = value if isinstance(value, str) else "<file>"
        return self.json(parsed)

    def array(self, array: NDArray[Any]) -> bytes:
        """The raw tensor of a whole OIP array whose dtype and shape already fit."""
        raise NotImplementedError

    def pack(self, elements: Sequence[Any]) -> bytes:
        """The raw tensor of checked elements."""
        raise NotImplementedError

    def row_shape(self, element: Any) -> tuple[int, ...]:
        """The shape of one checked element."""
        return self._shape

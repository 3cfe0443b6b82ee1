"""JSON from a request body, with errors that a caller can act on."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock_common.errors import PenstockError

_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_POSITION = re.compile(r"byte (\d+)")
_NOT_NUMBERS = (b"NaN", b"Infinity", b"-Infinity")


def decode_json(body: bytes) -> Any:
    """The JSON value in ``body``.

    Raises:
        PenstockError: 400 ``bad-json``.
    """
    try:
        return _ANY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_json(body, err) from None


def bad_json(body: bytes, err: Exception) -> PenstockError:
    """The error for a body that could not be decoded because of ``err``."""
    if not body.strip():
        return _problem("The body is empty; send a JSON object.")
    if isinstance(err, RecursionError):
        return _problem("The body is nested too deeply; send plain objects and lists.")
    try:
        body.decode()
    except UnicodeDecodeError as broken:
        return _problem(f"The body is not valid UTF-8 (byte {broken.start}); encode it as UTF-8.")
    if body.startswith(b"\xef\xbb\xbf"):
        return _problem("The body starts with a byte order mark; send UTF-8 without one.")
    at = _POSITION.search(str(err))
    if at:
        literal = _literal_at(body, int(at[1]))
        if literal:
            return _problem(f"JSON has no {literal} (byte {at[1]}); send a finite number.")
    return _problem(f"The body is not valid JSON: {err}.")


def _literal_at(body: bytes, at: int) -> str:
    for literal in _NOT_NUMBERS:
        # The parser stops at the first character of NaN and after the sign of -Infinity.
        for start in (at, at - 1):
            if start >= 0 and body.startswith(literal, start):
                return literal.decode()
    return ""


def _problem(detail: str) -> PenstockError:
    return PenstockError(400, "bad-json", detail)

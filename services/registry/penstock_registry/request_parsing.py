"""One bounded parser for each kind of text in a request; every refusal is 4xx and quotes what was given."""

from __future__ import annotations

import math
import re
from typing import TypeVar

import msgspec
from fastapi import Request

from penstock_common.errors import PenstockError

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RANGE = re.compile(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})", re.ASCII)
_MAX_WAIT = 60.0  # seconds
T = TypeVar("T")


def version_number(text: str) -> int:
    """The number of a version in a path."""
    if not _NUMBER.fullmatch(text):
        raise PenstockError(404, "unknown-version", f"{text[:20]!r} is not a version number.")
    return int(text)


def if_match(header: str | None) -> int | None:
    """The version in ``If-Match``; None if there is no header or it is ``*``."""
    if header is None or header.strip() == "*":
        return None
    value = header.strip().strip('"')
    if not _NUMBER.fullmatch(value):
        raise PenstockError(
            400, "bad-if-match", f'If-Match: {header[:40]!r} is not a version number; send one, e.g. "3".'
        )
    return int(value)


def wait_seconds(text: str) -> float:
    """How long a long poll may wait, between 0 and 60 seconds."""
    try:
        seconds = float(text) if len(text) <= 32 else math.nan
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise PenstockError(422, "bad-request", f"wait: {text[:40]!r} is not a number of seconds; send 0 to 60.")
    return min(max(seconds, 0.0), _MAX_WAIT)


def digest(text: str) -> str:
    """The SHA-256 in a blob's path."""
    if not _DIGEST.fullmatch(text):
        raise PenstockError(422, "bad-digest", "The name of a blob is its SHA-256 in 64 lower-case hexadecimal digits.")
    return text


def content_length(header: str | None) -> int | None:
    """``Content-Length`` in bytes; None if there is none."""
    if header is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", header, re.ASCII):
        raise PenstockError(400, "bad-request", f"Content-Length: {header[:40]!r} is not a number of bytes.")
    return int(header)


def check_range(header: str | None) -> None:
    """Refuse a ``Range`` that is not one range of bytes (RFC 9110, section 14.1.2)."""
    if header is not None and not _RANGE.fullmatch(header.strip()):
        raise PenstockError(
            416, "bad-range", f"Range {header[:40]!r} is not one range of bytes within the blob, e.g. bytes=0-99."
        )


async def json_body(request: Request, kind: type[T], max_bytes: int) -> T:
    """The body as ``kind``; no body is the same as ``{}``.

    Raises:
        PenstockError: 400 ``bad-json``; 413 ``body-too-large``; 422 ``bad-request``.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_bytes:
            raise PenstockError(
                413,
                "body-too-large",
                f"The body is larger than {max_bytes} bytes (PENSTOCK_REGISTRY_MAX_JSON_BYTES).",
            )
    try:
        return msgspec.json.decode(bytes(data) or b"{}", type=kind)
    except msgspec.ValidationError as err:
        raise PenstockError(422, "bad-request", f"{err}.") from None
    except RecursionError:
        raise PenstockError(400, "bad-json", "The body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PenstockError(400, "bad-json", "The body is not valid JSON.") from None

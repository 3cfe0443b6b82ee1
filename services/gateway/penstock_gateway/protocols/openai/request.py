"""Request bodies of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.edge.json_body import bad_json
from penstock_gateway.protocols.openai.errors import bad_request

T = TypeVar("T")

_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]*)`")


def decode_request(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Read a body; members that a request type does not name are ignored.

    Raises:
        PenstockError: 400 ``bad-json``, or ``invalid-request`` naming the member.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as err:
        raise _invalid(str(err)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_json(body, err) from None


def convert_request(fields: Mapping[str, str | bytes], kind: type[T]) -> T:
    """Read the fields of a form, whose numbers and booleans are texts.

    Raises:
        PenstockError: 400 ``invalid-request`` naming the field.
    """
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as err:
        raise _invalid(str(err)) from None


def _invalid(text: str) -> PenstockError:
    place = _PLACE.search(text)
    missing = _MISSING.search(text)
    param = place[1] if place else missing[1] if missing else None
    what = _PLACE.sub("", text)
    return bad_request(f"{param}: {what}." if param else f"{what}.", param)

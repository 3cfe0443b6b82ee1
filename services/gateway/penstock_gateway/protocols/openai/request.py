"""Request bodies of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call
from penstock_gateway.edge.json_body import bad_json
from penstock_gateway.protocols.openai.errors import bad_request

T = TypeVar("T")

#: A model, or one of its aliases as ``model@alias``; an error quotes it.
ModelName = Annotated[str, msgspec.Meta(max_length=256)]
#: msgspec reads whole numbers of any length.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

#: Characters of msgspec's explanation that an error quotes; it may have a whole text of the request.
_EXPLAINED = 200

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


def query_of(call: Call) -> dict[str, str]:
    """The parameters of a request's URL; of one that is given twice, the last."""
    return dict(parse_qsl(call.query.decode("latin-1")))


def _invalid(text: str) -> PenstockError:
    place = _PLACE.search(text)
    missing = _MISSING.search(text)
    param = place[1] if place else missing[1] if missing else None
    what = _PLACE.sub("", text)[:_EXPLAINED]
    return bad_request(f"{param}: {what}." if param else f"{what}.", param)

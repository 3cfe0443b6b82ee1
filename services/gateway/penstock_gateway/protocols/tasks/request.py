"""The body of a request in the forms in which clients send it: JSON, a form with pictures, or a bare picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call
from penstock_gateway.edge.json_body import bad_json
from penstock_gateway.protocols.multipart import read_parts
from penstock_gateway.protocols.tasks.route import R, TaskRoute
from penstock_gateway.signature.field_check import invalid

#: Characters of msgspec's explanation that an error quotes; it may have a whole text of the request.
_EXPLAINED = 200
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_IMAGE = "image"
#: curl -d says x-www-form-urlencoded of whatever it sends; what arrives is JSON.
_JSON = (b"application/json", b"application/x-www-form-urlencoded", b"")


class Asked(msgspec.Struct, Generic[R]):
    """A request that was read, apart from what it asks about.

    Attributes:
        member: the one that has what is asked about.
        values: JSON, or pictures: files, or texts of a form, which are base64.
    """

    request: R
    member: str
    values: msgspec.Raw | Sequence[bytes | str]


async def read_request(call: Call, route: TaskRoute[R]) -> Asked[R]:
    """Read a body.

    Raises:
        PenstockError: 400 ``bad-json`` or ``bad-form``; 415 ``unsupported-media-type``; 422 ``invalid-input`` naming the
            member.
    """
    content_type = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if content_type in _JSON:
        return _from_json(call.body, route)
    if route.takes_pictures and content_type == b"multipart/form-data":
        return _from_form(await read_parts(call), route)
    if route.takes_pictures and content_type.startswith(b"image/"):
        return Asked(route.request(), _IMAGE, [call.body])
    shown = content_type[:80].decode("latin-1")
    others = ", multipart/form-data or image/png" if route.takes_pictures else ""
    text = f"Content-Type {shown!r} is not understood here; send application/json{others}."
    raise PenstockError(415, "unsupported-media-type", text)


def _from_json(body: bytes, route: TaskRoute[R]) -> Asked[R]:
    try:
        request = route.decoder.decode(body)
    except msgspec.ValidationError as err:
        raise _explained(err, route) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_json(body, err) from None
    given = [member for member in route.services if getattr(request, member) is not msgspec.UNSET]
    if not given:
        raise invalid(next(iter(route.services)), f"is missing; send {' or '.join(route.services)}")
    if len(given) > 1:
        raise invalid(given[0], f"is given beside '{given[1]}'; send one of them")
    [member] = given
    values = getattr(request, member)
    setattr(request, member, msgspec.UNSET)  # else the request would keep the body
    return Asked(request, member, values)


def _from_form(parts: Sequence[tuple[str, bytes | str]], route: TaskRoute[R]) -> Asked[R]:
    pictures = [value for name, value in parts if name == _IMAGE]
    fields: dict[str, bytes | str] = {}
    for name, value in parts:
        if name in route.services:
            if name != _IMAGE:
                raise invalid(name, "is sent as application/json; a form has pictures")
        elif name in fields:
            raise invalid(name[:80], "is given twice")
        else:
            fields[name] = value
    if not pictures:
        raise invalid(_IMAGE, "is missing; send a file of the form")
    try:
        request = msgspec.convert(fields, route.request, strict=False)
    except msgspec.ValidationError as err:
        raise _explained(err, route) from None
    return Asked(request, _IMAGE, pictures)


def _explained(err: msgspec.ValidationError, route: TaskRoute[R]) -> PenstockError:
    text = str(err)
    members = ", ".join(field.name for field in msgspec.structs.fields(route.request))
    if unknown := _UNKNOWN.search(text):
        name = unknown[1][:80]
        detail = f"Unknown field '{name}'; this route takes {members}."
        return PenstockError(422, "invalid-input", detail, extra={"field": name})
    what = _PLACE.sub("", text)[:_EXPLAINED]
    if place := _PLACE.search(text):
        return invalid(place[1], what)
    return PenstockError(422, "invalid-input", f"The body is an object with {members}: {what}.")

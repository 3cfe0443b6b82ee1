"""The body of a request on ``/v1``, in the forms in which clients send rows."""

from __future__ import annotations

from collections.abc import Awaitable

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind
from penstock_gateway.edge.call import Call
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.multipart import read_form
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

#: What a bare body is, by the first part of its media type.
_FILES = {b"image": FieldKind.IMAGE, b"audio": FieldKind.AUDIO}


class RowBody:
    """Reads rows; this is the ``Parse`` of ``/v1``.

    Args:
        large_json: decodes large bodies; without it all are decoded here.
    """

    def __init__(self, large_json: LargeJson | None) -> None:
        self._large_json = large_json

    def __call__(self, call: Call, signature: Signature) -> Rows | Awaitable[Rows]:
        content_type = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        # curl -d says x-www-form-urlencoded of whatever it sends; what arrives is JSON.
        if content_type in (b"application/json", b"application/x-www-form-urlencoded", b""):
            if self._large_json is not None and len(call.body) > self._large_json.min_bytes:
                return self._large_json.rows(call, signature)
            return signature.decoder.decode_json(call.body)
        if content_type == b"multipart/form-data":
            return _form_row(call, signature)
        kind = _FILES.get(content_type.partition(b"/")[0])
        if kind is not None:
            return signature.decoder.decode_form({_only_field(signature, kind): call.body})
        raise PenstockError(
            415,
            "unsupported-media-type",
            f"Content-Type {content_type[:80].decode('latin-1')!r} is not understood here; "
            "send application/json, multipart/form-data or, to a model of one file, image/png or audio/wav.",
        )


async def _form_row(call: Call, signature: Signature) -> Rows:
    return signature.decoder.decode_form(await read_form(call))


def _only_field(signature: Signature, kind: FieldKind) -> str:
    inputs = signature.manifest.client_inputs
    if len(inputs) != 1 or inputs[0].kind is not kind or inputs[0].has_images:
        raise PenstockError(
            415,
            "unsupported-media-type",
            f"Model {signature.model!r} does not take a bare {kind} file; send its fields as application/json.",
        )
    return inputs[0].name

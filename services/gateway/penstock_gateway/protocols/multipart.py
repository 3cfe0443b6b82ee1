"""The fields of a multipart form."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call


async def read_form(call: Call) -> dict[str, str | bytes]:
    """The text of each field, or the bytes of a file, by the field's name.

    Raises:
        PenstockError: 400 ``bad-form``; 422 ``invalid-input`` for a field that is given twice.
    """

    async def stream() -> AsyncIterator[bytes]:
        yield call.body

    headers = Headers(raw=list(call.headers.items()))
    try:
        form = await MultiPartParser(headers, stream(), max_files=16, max_fields=256).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as err:
        reason = err.message if isinstance(err, MultiPartException) else "its boundary or headers are broken"
        raise PenstockError(400, "bad-form", f"The multipart form cannot be read: {reason}.") from None
    values: dict[str, str | bytes] = {}
    try:
        for name, value in form.multi_items():
            if name in values:
                raise PenstockError(422, "invalid-input", f"Field {name!r} is given twice; send one row a form.")
            values[name] = await value.read() if isinstance(value, UploadFile) else value
    finally:
        await form.close()
    return values

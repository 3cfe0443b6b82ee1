"""The fields of a multipart form."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call


class _WholeForm(MultiPartParser):
    """Starlette's parser, which takes text that is not UTF-8 for Latin-1 and drops a part that is cut off."""

    ended = False

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            try:
                self._current_part.data.decode()
            except UnicodeDecodeError as err:
                raise MultiPartException(f"a text field is not valid UTF-8 (byte {err.start})") from None
        super().on_part_end()

    def on_end(self) -> None:
        self.ended = True


async def read_form(call: Call) -> dict[str, str | bytes]:
    """The text of each field, or the bytes of a file, by the field's name.

    Raises:
        PenstockError: 400 ``bad-form``; 422 ``invalid-input`` for a field that is given twice.
    """
    values: dict[str, str | bytes] = {}
    for name, value in await read_parts(call):
        if name in values:
            raise PenstockError(422, "invalid-input", f"Field {name!r} is given twice; send one row a form.")
        values[name] = value
    return values


async def read_parts(call: Call) -> list[tuple[str, str | bytes]]:
    """The name of each field with its text or the bytes of its file, in their order.

    Raises:
        PenstockError: 400 ``bad-form``.
    """

    async def stream() -> AsyncIterator[bytes]:
        yield call.body

    headers = Headers(raw=list(call.headers.items()))
    parser = _WholeForm(headers, stream(), max_files=16, max_fields=256)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as err:
        reason = err.message if isinstance(err, MultiPartException) else "its boundary or headers are broken"
        raise bad_form(reason) from None
    try:
        if not parser.ended:
            raise bad_form("it ends before its last boundary; send it whole")
        return [
            (name, await value.read() if isinstance(value, UploadFile) else value) for name, value in form.multi_items()
        ]
    finally:
        await form.close()


def bad_form(reason: str) -> PenstockError:
    return PenstockError(400, "bad-form", f"The multipart form cannot be read: {reason}.")

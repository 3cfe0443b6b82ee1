"""A multipart form with one file that is too large to be held: its contents are passed on as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call, Message
from penstock_gateway.protocols.multipart import bad_form

#: Bytes of all fields that are not the file, with the headers of all parts; number of parts.
_MOST_FIELD_BYTES = 64 * 1024
_MOST_PARTS = 64
#: Bytes of the file that are passed on together.
_CHUNK = 256 * 1024


class UploadForm:
    """Reads the form of a call whose body is not read yet.

    ``fields`` has the text of each field, and ``filename`` the name of the file, once ``chunks`` has ended.

    Raises:
        PenstockError: of the constructor: 400 ``bad-form``.
    """

    def __init__(self, call: Call) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._call = call
        self._name = self._header = b""
        self._disposition = b""
        self._value = bytearray()
        self._chunk = bytearray()
        self._in_file = self._ended = False
        self._parts = self._field_bytes = 0
        kind, options = parse_options_header(call.headers.get(b"content-type", b""))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise bad_form("send multipart/form-data with a boundary, as form libraries do")
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._part_ends,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise bad_form("its boundary is too long") from None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The contents of the file, as they arrive.

        Raises:
            PenstockError: 400 ``bad-form``; 408 ``body-timeout``; 499 ``client-gone``.
        """
        more = True
        while more:
            message = await self._received()
            if message["type"] == "http.disconnect":
                raise PenstockError(499, "client-gone", "The client closed the connection.")
            more = message.get("more_body", False)
            try:
                self._parser.write(message.get("body", b""))
            except FormParserError:
                raise bad_form("its boundary or headers are broken") from None
            if self._chunk and (len(self._chunk) >= _CHUNK or not more):
                yield bytes(self._chunk)
                self._chunk.clear()
        if not self._ended:
            raise bad_form("it ends before its last boundary; send it whole")
        if self.filename is None:
            raise bad_form("it has no file; send one as the field 'file'")

    async def _received(self) -> Message:
        try:
            async with asyncio.timeout(self._call.deadline - time.monotonic()):
                return await self._call.receive()
        except TimeoutError:
            text = "The file did not arrive in time; send it faster, or in several files. The bound is stream_seconds."
            raise PenstockError(408, "body-timeout", text, extra={"bound": "stream_seconds"}) from None

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise bad_form(f"it has more than {_MOST_PARTS} parts")
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._count(len(self._header) + len(self._value))
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header = b""
        self._value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"")
        self._in_file = self._name == b"file"
        if self._in_file:
            if self.filename is not None:
                raise bad_form("it has two files; send one a form")
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._chunk += data[start:end]
        else:
            self._count(end - start)
            self._value += data[start:end]

    def _part_ends(self) -> None:
        if self._in_file:
            return
        try:
            self.fields[self._name.decode()] = self._value.decode()
        except UnicodeDecodeError:
            raise bad_form("a text field is not valid UTF-8") from None
        self._value.clear()

    def _end(self) -> None:
        self._ended = True

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > _MOST_FIELD_BYTES:
            raise bad_form(f"its fields have more than {_MOST_FIELD_BYTES} bytes")

"""The lines of a batch's input file: one request each, in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from penstock_gateway.batches.batch_record import BatchError

#: The only method that a line may have.
POST = "POST"
_MAX_ID = 512  # characters
#: Bytes that are looked at in one turn of the event loop: a few milliseconds, even if all of them are ends of lines.
_PIECE = 64 * 1024


class InputLine(msgspec.Struct):
    """One request; ``url`` is a path of this API."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    stream: bool | None = None


class LineError(Exception):
    """A line that cannot be a request."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


_DECODER = msgspec.json.Decoder(InputLine)
_BODY_DECODER = msgspec.json.Decoder(_Body)


async def read_lines(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line that is not empty.

    Args:
        max_bytes: of one line.

    Raises:
        LineTooLongError: a line is longer; it is the last one that is looked at.
    """
    rest = bytearray()
    number = 0
    async for piece in _pieces(chunks):
        lines = piece.split(b"\n")
        for end in lines[:-1]:
            rest += end
            number += 1
            _check_length(rest, number, max_bytes)
            if line := bytes(rest).strip():
                yield number, line
            rest.clear()
        rest += lines[-1]
        _check_length(rest, number + 1, max_bytes)
    if line := bytes(rest).strip():
        yield number + 1, line


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, with a turn of the event loop for others before each piece."""
    async for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            await asyncio.sleep(0)
            yield chunk[start : start + _PIECE]


def decode_line(line: bytes, endpoint: str) -> InputLine:
    """The request of a line.

    Raises:
        LineError: it is none for this endpoint.
    """
    try:
        request = _DECODER.decode(line)
        body = _BODY_DECODER.decode(request.body)
    except msgspec.ValidationError as err:
        raise LineError("invalid_line", f"The line is not a request: {str(err)[:200]}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise LineError("invalid_json_line", f"The line is not a JSON object: {str(err)[:200]}.") from None
    if not 0 < len(request.custom_id) <= _MAX_ID:
        raise LineError("invalid_custom_id", f"custom_id has 1 to {_MAX_ID} characters.", "custom_id")
    if request.method != POST:
        raise LineError("invalid_method", f"method is '{request.method[:20]}'; it must be {POST}.", "method")
    if request.url != endpoint:
        raise LineError("invalid_url", f"url is '{request.url[:80]}'; the batch's endpoint is {endpoint}.", "url")
    if body.stream:
        raise LineError("stream_not_supported", "stream: a batch has no streams; leave it out.", "body.stream")
    return request


def as_batch_error(err: LineError, number: int) -> BatchError:
    return BatchError(err.code, str(err), number, err.param)


def _check_length(line: bytearray, number: int, max_bytes: int) -> None:
    if len(line) > max_bytes:
        raise LineTooLongError(number, max_bytes)


class LineTooLongError(LineError):
    """A line of more bytes than a line may have."""

    def __init__(self, number: int, max_bytes: int) -> None:
        text = f"The line has more than {max_bytes} bytes (max_batch_line_bytes); send smaller requests."
        super().__init__("line_too_long", text)
        self.number = number

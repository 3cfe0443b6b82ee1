"""What a batch has answered so far: parts, each for the lines behind those of the part before.

A part is an object that is created once, under the number of its first line: its header in JSON, then the lines of the
output, then those of the error file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from penstock_gateway.batches.answered_line import AnsweredLine
from penstock_gateway.batches.token_usage import TokenUsage
from penstock_gateway.files.contents import Contents

#: A part is whole when it has so many lines, bytes or seconds.
_MOST_LINES = 100
_MOST_BYTES = 2 * 1024 * 1024
_MOST_SECONDS = 10.0


class PartsGoneError(Exception):
    """The parts are not those that were written."""


class PartHeader(msgspec.Struct):
    """What a part has; ``output_bytes`` come behind the header, then the lines that have failed.

    Attributes:
        expired: that some lines have failed because the completion window was over.
        usage: of all lines.
    """

    completed: int
    failed: int
    output_bytes: int
    expired: bool
    usage: TokenUsage

    @property
    def lines(self) -> int:
        return self.completed + self.failed


_HEADER = msgspec.json.Decoder(PartHeader)


class Part:
    """A part that is not written yet.

    Args:
        first: the number of its first line.
        now: seconds on the clock that ``is_whole`` is asked with.
    """

    def __init__(self, first: int, now: float) -> None:
        self.first = first
        self._since = now
        self._output: list[bytes] = []
        self._errors: list[bytes] = []
        self._bytes = 0
        self._expired = False
        self._usage = TokenUsage()
        #: That a line behind its last one was given up.
        self.has_gap = False

    def add(self, answer: AnsweredLine) -> None:
        self._expired |= answer.expired
        self._usage += answer.usage
        (self._errors if answer.failed else self._output).append(answer.line)
        self._bytes += len(answer.line)

    @property
    def header(self) -> PartHeader:
        output_bytes = sum(map(len, self._output))
        return PartHeader(len(self._output), len(self._errors), output_bytes, self._expired, self._usage)

    def is_whole(self, now: float) -> bool:
        lines = len(self._output) + len(self._errors)
        return lines >= _MOST_LINES or self._bytes >= _MOST_BYTES or (lines > 0 and now - self._since >= _MOST_SECONDS)

    def encoded(self) -> bytes:
        return b"".join([msgspec.json.encode(self.header), b"\n", *self._output, *self._errors])


class Parts:
    """The parts of one batch in the object store."""

    def __init__(self, contents: Contents, batch_id: str) -> None:
        self._contents = contents
        self._folder = f"batches/{batch_id}"

    async def write(self, part: Part) -> bool:
        """Write a part; False if there is one already that begins with the same line, which then counts."""
        return await self._contents.create(self._key(part.first), part.encoded())

    async def header(self, first: int) -> PartHeader | None:
        """The header of the part that begins with a line; None if there is none."""
        key = self._key(first)
        size = await self._contents.size(key)
        return None if size is None else (await self._open(key, size))[0]

    def output(self, lines: int) -> AsyncGenerator[bytes, None]:
        """The lines of the output, chunk by chunk.

        Args:
            lines: how many there must be.

        Raises:
            PartsGoneError: there are others.
            FileNotFoundError: a part was deleted meanwhile.
        """
        return self._joined(lambda header: header.completed, lines, failed=False)

    def errors(self, lines: int) -> AsyncGenerator[bytes, None]:
        """The lines of the error file, as of ``output``."""
        return self._joined(lambda header: header.failed, lines, failed=True)

    async def _joined(
        self, count: Callable[[PartHeader], int], lines: int, *, failed: bool
    ) -> AsyncGenerator[bytes, None]:
        for key, size in await self._contents.list_sizes(self._folder):
            header, begins = await self._open(key, size)
            if not count(header):
                continue
            lines -= count(header)
            middle = begins + header.output_bytes
            start, end = (middle, size) if failed else (begins, middle)
            at = 0
            async for chunk in self._contents.read(key, size):
                piece = chunk[max(0, start - at) : max(0, end - at)]
                at += len(chunk)
                if piece:
                    yield piece
        if lines:
            raise PartsGoneError

    async def delete(self) -> None:
        for key, _ in await self._contents.list_sizes(self._folder):
            await self._contents.delete(key)

    async def _open(self, key: str, size: int) -> tuple[PartHeader, int]:
        """A part's header, and its bytes with the line's end."""
        async with aclosing(self._contents.read(key, size)) as chunks:
            head, _, _ = (await anext(chunks)).partition(b"\n")
        return _HEADER.decode(head), len(head) + 1

    def _key(self, first: int) -> str:
        return f"{self._folder}/{first:08d}.jsonl"

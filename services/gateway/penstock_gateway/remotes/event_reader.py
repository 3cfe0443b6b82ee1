"""Server-sent events out of the bytes of an answer (HTML Living Standard, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator

#: Bytes of one event; a delta of OpenAI's API has a few hundred, and with twenty log probabilities a few thousand.
MAX_EVENT_BYTES = 1024 * 1024


class EventTooLargeError(Exception):
    """An event is larger than ``MAX_EVENT_BYTES``."""


class EventReader:
    """Collects the lines of a stream; comments, names and ids of events are left out."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of a line that has not ended
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of each event that ends in ``chunk``, the lines of one joined by line feeds.

        Raises:
            EventTooLargeError: the stream cannot be read on.
        """
        self._rest += chunk
        if b"\n" in chunk:
            lines = bytes(self._rest).replace(b"\r\n", b"\n").split(b"\n")
            self._rest = bytearray(lines.pop())
            for line in lines:
                if line.startswith(b"data:"):
                    self._add(line[5:].removeprefix(b" "))
                elif not line and self._data:
                    yield b"\n".join(self._data)
                    self._data, self._size = [], 0
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLargeError

    def _add(self, data: bytes) -> None:
        self._data.append(data)
        self._size += len(data) + 1
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLargeError

"""The streams of one model's process, as the server sees them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from penstock_inference.runners.parcels import pack_parcel, read_parcel
from penstock_inference.runners.shared_tensors import SharedMemory, create_memory, datatype_of, plan
from penstock_inference.runners.wire import (
    BEHIND_BYTES,
    BEHIND_CHUNKS,
    MAX_CHUNK_BYTES,
    MAX_INLINE,
    Close,
    Credit,
    Failed,
    FromServer,
    Open,
    Parcel,
    Room,
    StreamChunk,
)

#: A stream that does not wait for its reader ends once it is so many bytes ahead.
MAX_UNREAD_BYTES = 2 * MAX_CHUNK_BYTES
#: What a chunk takes beside its tensors.
_CHUNK_BYTES = 1024
#: So many chunks, or bytes, are read before the process hears of it: less than what makes a stream wait.
_CREDIT_CHUNKS = BEHIND_CHUNKS // 2
_CREDIT_BYTES = BEHIND_BYTES // 2

Send = Callable[[FromServer, Sequence[int]], None]


class Piece(NamedTuple):
    """What a stream gives at a time; ``outputs`` are None if it only ends, which is ``last``."""

    outputs: list[NDArray[Any]] | None
    last: bool


class SlowReaderError(Exception):
    """More waits to be read than the server keeps."""


class ProcessStream:
    """One stream. Close it when nobody reads it any more, whether or not it has ended."""

    def __init__(self, number: int, streams: ProcessStreams) -> None:
        self.number = number
        self._streams = streams
        self._pieces: deque[tuple[Piece, int]] = deque()
        self._came = asyncio.Event()
        self._unread_bytes = 0
        self._read = self._read_bytes = 0  # of which the process has not heard yet
        self._error: Exception | None = None
        self.ended = False

    async def read(self) -> Piece:
        """Return the next piece once it is there; after the last one there is none.

        Raises:
            PenstockError: 422 ``invalid-input`` or 500 ``bad-model-answer``, as the model's process said.
            ModelFailedError: the model raised another exception.
            ProcessEndedError: the process ended.
            SlowReaderError: it was read too slowly.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            self._came.clear()
            await self._came.wait()
        piece, size = self._pieces.popleft()
        self._unread_bytes -= size
        if piece.outputs is not None and not self.ended:
            self._read += 1
            self._read_bytes += size
            if self._read >= _CREDIT_CHUNKS or self._read_bytes >= _CREDIT_BYTES:
                self._streams.credit(self.number, self._read)
                self._read = self._read_bytes = 0
        return piece

    def close(self) -> None:
        """Free what it holds, here and in the process."""
        self._pieces.clear()
        self._streams.close(self)

    def add(self, piece: Piece) -> None:
        """Take what the process sent."""
        size = _CHUNK_BYTES + sum([output.nbytes for output in piece.outputs or ()])
        if self._unread_bytes + size > MAX_UNREAD_BYTES:
            self._streams.close(self)
            self.fail(SlowReaderError(f"{self._unread_bytes} bytes wait to be read."))
            return
        self._unread_bytes += size
        self._pieces.append((piece, size))
        self.ended = piece.last
        self._came.set()

    def fail(self, error: Exception) -> None:
        """End it with an error, which follows what came before."""
        self.ended = True
        self._error = error
        self._came.set()


class ProcessStreams:
    """The open streams of a process.

    Args:
        send: sends a message to the process, with descriptors that it closes.
        outputs: how many a chunk has.
        error_of: makes an exception of what the process reports.
    """

    def __init__(self, send: Send, outputs: int, error_of: Callable[[Failed], Exception]) -> None:
        self._send = send
        self._outputs = outputs
        self._error_of = error_of
        self._open: dict[int, ProcessStream] = {}
        self._next = 0
        self._room: SharedMemory | None = None

    @property
    def room_bytes(self) -> int:
        """The bytes of memory that the process has for the chunk that it is about to send."""
        return self._room.size if self._room is not None else 0

    def open(self, inputs: Mapping[str, NDArray[Any]]) -> ProcessStream:
        """Begin a stream with one row, ``[1, ...]`` each."""
        self._next += 1
        stream = self._open[self._next] = ProcessStream(self._next, self)
        places, contents, size = plan([(name, datatype_of(array), [array]) for name, array in inputs.items()])
        if size <= MAX_INLINE:
            self._send(Open(stream.number, pack_parcel(places, contents, size)), ())
        else:
            memory, fd = create_memory("inputs", size)
            memory.write(places, contents)
            self._send(Open(stream.number, Parcel(places, memory_bytes=memory.size)), [fd])
        return stream

    def close(self, stream: ProcessStream) -> None:
        if self._open.pop(stream.number, None) is not None and not stream.ended:
            self._send(Close(stream.number), ())

    def credit(self, number: int, chunks: int) -> None:
        self._send(Credit(number, chunks), ())

    def give_room(self, size: int) -> None:
        """Give the process memory for a chunk.

        Raises:
            ValueError: it asked for what it must not have.
        """
        if not 0 < size <= MAX_CHUNK_BYTES:
            raise ValueError(f"There is no room of {size} bytes.")
        self._room, fd = create_memory("chunk", size)
        self._send(Room(self._room.size), [fd])

    def take(self, chunks: Sequence[StreamChunk]) -> None:
        """Give chunks to their streams; those of streams that were closed are dropped.

        Raises:
            ValueError: a chunk is not what it says.
        """
        for chunk in chunks:
            outputs = None if chunk.outputs is None else self._read(chunk.outputs)
            stream = self._open.get(chunk.stream)
            if stream is None or stream.ended:
                continue
            if chunk.failed is not None:
                stream.fail(self._error_of(chunk.failed))
            elif outputs is not None or chunk.last:
                stream.add(Piece(outputs, chunk.last))

    def end(self, error_of: Callable[[], Exception]) -> None:
        """End all streams with errors: the process has ended."""
        for stream in self._open.values():
            if not stream.ended:
                stream.fail(error_of())
        self._open.clear()
        self._room = None

    def _read(self, parcel: Parcel) -> list[NDArray[Any]]:
        memory = None
        if parcel.memory_bytes:
            memory, self._room = self._room, None
        outputs = [array for _, array in read_parcel(parcel, memory)]
        if len(outputs) != self._outputs or any(output.shape[:1] != (1,) for output in outputs):
            raise ValueError("A chunk is not one row of all outputs.")
        return outputs

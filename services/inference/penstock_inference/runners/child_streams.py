"""How a model's process answers streams: it hears what the server says, runs one step, sends what that gave, and again.

So a stream whose caller has left costs one step more at most.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, runtime_checkable

from numpy.typing import NDArray

from penstock_inference.runners.failure import failure_of, lost_gpu
from penstock_inference.runners.parcels import pack_parcel, read_parcel
from penstock_inference.runners.progress import Progress
from penstock_inference.runners.runner import Chunk
from penstock_inference.runners.server_connection import Packet, ServerConnection, map_memory
from penstock_inference.runners.shared_tensors import datatype_of, plan
from penstock_inference.runners.wire import (
    BEHIND_BYTES,
    BEHIND_CHUNKS,
    MAX_CHUNK_BYTES,
    MAX_INLINE,
    Chunks,
    Close,
    Credit,
    Open,
    Parcel,
    StreamChunk,
)

#: Chunks of one packet at most. Each failure has one of its own, since its text may be long.
_PACKET_CHUNKS = 64
#: Bytes that one output takes in a packet at most, beside its data.
_PLACE_BYTES = 512


@runtime_checkable
class StreamModel(Protocol):
    """A loaded model that answers streams; see ``StreamingRunner``. The outputs of its chunks are lists."""

    @property
    def most_streams(self) -> int: ...

    @property
    def paused(self) -> set[int] | None:
        """The streams that ``step`` leaves alone; None if it cannot."""
        ...

    def open(self, stream: int, inputs: dict[str, NDArray[Any]]) -> None: ...

    def step(self) -> list[Chunk]: ...

    def close(self, stream: int) -> None: ...


class StreamLoop:
    """Steps a model while it has open streams, until the server goes.

    Args:
        progress: shows the server that steps end.
    """

    def __init__(self, server: ServerConnection, model: StreamModel, progress: Progress) -> None:
        self._server = server
        self._model = model
        self._progress = progress
        self._unread: dict[int, deque[int]] = {}  # of each open stream, the bytes of the chunks that nobody has read

    def serve(self) -> NoReturn:
        while True:
            self._hear()
            if self._can_step():
                self._progress.working()
                self._send(self._step())

    def _can_step(self) -> bool:
        paused = self._model.paused
        return len(self._unread) > (len(paused) if paused is not None else 0)

    def _hear(self) -> None:
        """Do what the server says; wait for it only if there is no step to run."""
        packet: Packet | None
        if self._can_step():
            packet = self._server.receive_now()
        else:
            self._progress.waiting()
            packet = self._server.receive()
        while packet is not None:
            self._progress.working()
            match packet:
                case Open(stream, inputs), fds:
                    self._open(stream, inputs, fds)
                case Close(stream), _:
                    self._close(stream)
                case Credit(stream, chunks), _:
                    self._count_read(stream, chunks)
            packet = self._server.receive_now()

    def _open(self, stream: int, parcel: Parcel, fds: list[int]) -> None:
        memory = map_memory(fds.pop(0), parcel.memory_bytes) if parcel.memory_bytes else None
        try:
            # Copies: a model may write to its inputs, and keep them as long as it likes.
            inputs = {place.name: array.copy() for place, array in read_parcel(parcel, memory)}
            self._model.open(stream, inputs)
        except Exception as err:
            self._server.send(Chunks([StreamChunk(stream, last=True, failed=failure_of(err))]))
        else:
            self._unread[stream] = deque()

    def _close(self, stream: int) -> None:
        self._forget(stream)
        self._model.close(stream)

    def _forget(self, stream: int) -> None:
        self._unread.pop(stream, None)
        self._pause(stream, False)

    def _pause(self, stream: int, behind: bool) -> None:
        if self._model.paused is None:
            return
        if behind:
            self._model.paused.add(stream)
        else:
            self._model.paused.discard(stream)

    def _count_read(self, stream: int, chunks: int) -> None:
        unread = self._unread.get(stream)
        if unread is None:
            return
        for _ in range(min(chunks, len(unread))):
            unread.popleft()
        self._pause(stream, _behind(unread))

    def _step(self) -> list[Chunk]:
        try:
            return self._model.step()
        except Exception as err:
            if lost_gpu(err):
                os._exit(1)
            failed = [Chunk(stream, last=True, error=err) for stream in self._unread]
            for chunk in failed:
                self._model.close(chunk.stream)
            return failed

    def _send(self, chunks: Sequence[Chunk]) -> None:
        """Send chunks in as few packets as they fit into."""
        ready: list[StreamChunk] = []
        size = 0
        for chunk in chunks:
            if chunk.stream not in self._unread:
                continue
            packed = self._packed(chunk)
            if packed.last:
                self._forget(chunk.stream)
            own = _packet_bytes(packed)
            if ready and (size + own > 2 * MAX_INLINE or len(ready) == _PACKET_CHUNKS):
                self._server.send(Chunks(ready))
                ready, size = [], 0
            ready.append(packed)
            size += own
            if packed.outputs is not None and packed.outputs.memory_bytes:
                self._server.send(Chunks(ready))  # before its memory is asked for again
                ready, size = [], 0
        if ready:
            self._server.send(Chunks(ready))

    def _packed(self, chunk: Chunk) -> StreamChunk:
        """Return a chunk as it travels; one that cannot ends its stream."""
        if chunk.error is not None:
            return StreamChunk(chunk.stream, last=True, failed=failure_of(chunk.error))
        if chunk.outputs is None:
            return StreamChunk(chunk.stream, last=chunk.last)
        try:
            parcel, size = self._parcel(chunk.outputs)
        except Exception as err:
            self._model.close(chunk.stream)
            return StreamChunk(chunk.stream, last=True, failed=failure_of(err))
        if self._model.paused is not None:
            unread = self._unread[chunk.stream]
            unread.append(size)
            self._pause(chunk.stream, _behind(unread))
        return StreamChunk(chunk.stream, parcel, chunk.last)

    def _parcel(self, outputs: Sequence[NDArray[Any]] | dict[str, NDArray[Any]]) -> tuple[Parcel, int]:
        assert isinstance(outputs, list)
        tensors = plan([(str(n), datatype_of(output), [output]) for n, output in enumerate(outputs)])
        places, contents, size = tensors
        if size <= MAX_INLINE:
            return pack_parcel(places, contents, size), size
        if size > MAX_CHUNK_BYTES:
            raise ValueError(f"A chunk takes {size} bytes; {MAX_CHUNK_BYTES} are possible. Give smaller chunks.")
        memory = self._server.ask_for_room(size)
        if memory is None:
            raise MemoryError(f"The server has no memory for a chunk of {size} bytes.")
        memory.write(places, contents)
        return Parcel(places, memory_bytes=memory.size), size


def _behind(unread: deque[int]) -> bool:
    return len(unread) >= BEHIND_CHUNKS or sum(unread) >= BEHIND_BYTES


def _packet_bytes(chunk: StreamChunk) -> int:
    if chunk.failed is not None:
        return 2 * MAX_INLINE
    return 0 if chunk.outputs is None else len(chunk.outputs.data) + _PLACE_BYTES * len(chunk.outputs.places)

"""A model's process, as the server sees it. All of it happens on the event loop: no thread waits for a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.batch_memory import BatchMemory
from penstock_inference.runners.hang_watch import HangWatch
from penstock_inference.runners.memory import peak_bytes, private_bytes, resident_bytes
from penstock_inference.runners.packet_sender import PacketSender
from penstock_inference.runners.process_streams import ProcessStream, ProcessStreams
from penstock_inference.runners.shared_tensors import SharedMemory
from penstock_inference.runners.wire import (
    MAX_PACKET,
    Chunks,
    Failed,
    FromProcess,
    Loaded,
    Ran,
    Room,
    TooSmall,
)

#: Bytes of the outputs of one batch at most.
MAX_OUTPUT_BYTES = 2**30
#: Seconds that the parent has to say how a process ended whose socket is closed.
_OBITUARY_SECONDS = 5.0

#: Ends of a load that the same files would have again; what the kernel or the server ended may be for want of memory.
_OWN_ENDS = frozenset({"exit", "sigabrt", "sigfpe", "sigill", "sigsegv", "sigsys"})

_decode = msgspec.msgpack.Decoder(FromProcess).decode


class LoadFailedError(Exception):
    """A model could not be loaded; the text says why, in the words of its framework.

    Args:
        permanent: the same files would fail again on this pod, whenever they are tried.
    """

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class ModelFailedError(Exception):
    """A model raised an exception for a batch; the text has its type and message."""


class ProcessEndedError(Exception):
    """The process ended before it answered."""


class ModelProcess:
    """One process with one version's model.

    Args:
        connection: this side of its socket.
        beats: the page on which it shows its progress.
        memory_bytes: that it may take beyond what it has at the fork.
        run_seconds: that a run may take in any case.
        load_seconds: that its load may take.

    Attributes:
        load_seconds: that its load and the trials of the model took; 0 before.
        device: what the model runs on, ``cpu`` or the name of a GPU; empty before.
        gpu_bytes: of the GPU's memory that it held after the trials.
        most_streams: that may be open at once, once it is loaded; 0 if its model does not stream.
        cause: why the server killed it, or how it ended: one of a few words, for a metric. Empty while it lives.
        reason: the same as a sentence.
        ended: set once it has ended.
    """

    def __init__(
        self,
        manifest: Manifest,
        connection: socket.socket,
        beats: SharedMemory,
        *,
        memory_bytes: int,
        run_seconds: float,
        load_seconds: float,
    ) -> None:
        self._manifest = manifest
        self._connection = connection
        self._watch = HangWatch(beats, run_seconds=run_seconds, load_seconds=load_seconds)
        self._memory = BatchMemory()
        self._memory_bytes = memory_bytes
        self._pid = 0
        self._pidfd = -1
        self._private_at_fork = 0
        self._resident_at_fork = 0
        self._closed = False
        self._unheard: asyncio.TimerHandle | None = None
        self._reply: asyncio.Future[FromProcess] | None = None
        self._packets = PacketSender(connection)
        self._streams = ProcessStreams(
            self._packets.send, len(manifest.outputs), lambda failed: _error(failed, memory_bytes)
        )
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)
        self.load_seconds = 0.0
        self.device = ""
        self.gpu_bytes = 0
        self.most_streams = 0
        self.cause = ""
        self.reason = ""
        self.ended = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._pid

    def forked(self, pid: int, pidfd: int) -> None:
        """Take over what the parent said of the process."""
        self._pid, self._pidfd = pid, pidfd
        self._private_at_fork = private_bytes(pid)
        self._resident_at_fork = resident_bytes(pid)
        if self.cause:
            self.kill(self.cause, self.reason)

    def resident_bytes(self) -> int:
        return resident_bytes(self._pid)

    def most_taken_bytes(self) -> int:
        """Return the most memory that it has had so far beyond what it had at the fork."""
        return max(0, peak_bytes(self._pid) - self._resident_at_fork)

    async def load(self) -> None:
        """Wait until the model is loaded.

        Raises:
            LoadFailedError: it could not be, and the process ends.
        """
        try:
            reply = await self._next_reply()
        except ProcessEndedError:
            own = self.cause in _OWN_ENDS
            raise LoadFailedError(f"{self.reason} while the model was loaded", permanent=own) from None
        if isinstance(reply, Failed):
            raise LoadFailedError(_described(reply, self._memory_bytes), permanent=not reply.out_of_memory)
        if not isinstance(reply, Loaded):
            self.kill("protocol", "its process broke the protocol")
            raise LoadFailedError(self.reason)
        self._watch.took(reply.longest_run)
        self.load_seconds = reply.seconds
        self.device, self.gpu_bytes = reply.device, reply.gpu_bytes
        self.most_streams = reply.most_streams

    def open_stream(self, inputs: Mapping[str, NDArray[Any]]) -> ProcessStream:
        """Begin a stream with the inputs of one row, ``[1, ...]`` each.

        Raises:
            ProcessEndedError: the process ended.
        """
        if self.ended.is_set():
            raise ProcessEndedError(self.reason)
        return self._streams.open(inputs)

    async def run(self, batch: Sequence[dict[str, NDArray[Any]]], rows: int) -> list[NDArray[Any]]:
        """Run the rows of several messages; their inputs have the same names, types and shapes of a row.

        Raises:
            PenstockError: 422 ``invalid-input`` or 500 ``bad-model-answer``, as the model's process said.
            ModelFailedError: the model raised another exception.
            ProcessEndedError: the process ended.
        """
        request, fds = self._memory.put(batch)
        self._watch.run_begins()
        self._packets.send(request, fds)
        reply = await self._next_reply()
        if isinstance(reply, TooSmall):
            reply = await self._give_room(request.slot, reply.outputs_bytes)
        self._watch.run_ended()
        if isinstance(reply, Ran):
            return self._take(reply, request.slot, rows)
        if isinstance(reply, Failed):
            raise _error(reply, self._memory_bytes)
        raise self._broken()

    def check(self, seconds: float) -> None:
        """Kill the process if it makes no progress or takes too much memory. Call it regularly.

        Args:
            seconds: since the last call, or less if the server itself stood still meanwhile.
        """
        if not self._pid or self.cause:
            return
        if self.most_streams:
            self._watch.tick_step(seconds)
        else:
            self._watch.tick_run(seconds, running=self._reply is not None)
        taken = private_bytes(self._pid) - self._private_at_fork - self._memory.size - self._streams.room_bytes
        if hang := self._watch.hang():
            self.kill(*hang)
        elif taken > self._memory_bytes:
            self.kill("memory", f"its process took more than {self._memory_bytes // 2**20} MB")

    def kill(self, cause: str, reason: str) -> None:
        """End the process now; the first cause counts."""
        if not self.cause:
            self.cause, self.reason = cause, reason
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def stop(self) -> None:
        """End the process, which runs nothing, and wait until its memory is free."""
        self.kill("stopped", "it was stopped")
        await self.ended.wait()

    def died(self, status: int) -> None:
        """Take over how it ended: its exit status, or the number of a signal as a negative number."""
        if self.ended.is_set():
            return
        while self._read():  # its last words
            pass
        if self._unheard is not None:
            self._unheard.cancel()
        if not self.cause:
            if status < 0:
                name = signal.Signals(-status).name if -status in list(signal.Signals) else f"signal {-status}"
                self.cause, self.reason = name.lower(), f"its process was ended by {name}"
            else:
                self.cause, self.reason = "exit", f"its process ended by itself with status {status}"
        self._loop.remove_reader(self._connection.fileno())
        self._packets.close()
        self._connection.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._memory.close()
        self._watch.close()
        self.ended.set()
        self._streams.end(lambda: ProcessEndedError(self.reason))
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ProcessEndedError(self.reason))

    async def _next_reply(self) -> FromProcess:
        if self.ended.is_set():
            raise ProcessEndedError(self.reason)
        self._reply = self._loop.create_future()
        self._watch.run_goes_on()
        try:
            return await self._reply
        finally:
            self._reply = None

    def _read(self) -> bool:
        """Take the packet that has come; return False if there is none. An unexpected one ends the process."""
        if self._closed:
            return False
        try:
            data = self._connection.recv(MAX_PACKET)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._closed = True
            self._loop.remove_reader(self._connection.fileno())
            # The parent says how it ended; if it has ended too, nobody does.
            self._unheard = self._loop.call_later(_OBITUARY_SECONDS, self.died, -signal.SIGKILL)
            return False
        try:
            self._hear(_decode(data))
        except (msgspec.DecodeError, PenstockError, ValueError):
            self.kill("protocol", "its process sent what is not a message")
        return True

    def _hear(self, message: FromProcess) -> None:
        """Take a message from the process.

        Raises:
            PenstockError, ValueError: it is not what it says.
        """
        if isinstance(message, Chunks):
            self._streams.take(message.chunks)
        elif isinstance(message, TooSmall) and self.most_streams:
            self._streams.give_room(message.outputs_bytes)
        elif self._reply is None or self._reply.done():
            self.kill("protocol", "its process spoke unasked")
        else:
            self._reply.set_result(message)

    async def _give_room(self, slot: int, size: int) -> FromProcess:
        if not 0 < size <= MAX_OUTPUT_BYTES:
            self._packets.send(Room(0), [])
            raise _bad_answer(f"The outputs of one batch take {size} bytes; {MAX_OUTPUT_BYTES} are possible.")
        self._packets.send(*self._memory.enlarge(slot, size))
        return await self._next_reply()

    def _take(self, reply: Ran, slot: int, rows: int) -> list[NDArray[Any]]:
        try:
            return self._memory.take(reply, slot, len(self._manifest.outputs), rows)
        except (ValueError, PenstockError):
            raise self._broken() from None

    def _broken(self) -> ProcessEndedError:
        self.kill("protocol", "its process broke the protocol")
        return ProcessEndedError(self.reason)


def _error(reply: Failed, memory_bytes: int) -> Exception:
    """Return the error of a batch that the process names. It chooses among few: a status of its own it cannot have."""
    if reply.status == 422:
        return PenstockError(422, "invalid-input", reply.text)
    if reply.status:
        return _bad_answer(reply.text)
    return ModelFailedError(_described(reply, memory_bytes))


def _described(reply: Failed, memory_bytes: int) -> str:
    """Return the exception; before it, the bound of the process's memory if it was that."""
    bound = f"needs more than {memory_bytes // 2**20} MB: " if reply.out_of_memory and not reply.of_gpu else ""
    return f"{bound}{reply.kind}: {reply.text}"


def _bad_answer(detail: str) -> PenstockError:
    return PenstockError(500, "bad-model-answer", detail)

"""A model's process, as the server sees it. All of it happens on the event loop: no thread waits for a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.memory import peak_bytes, private_bytes, resident_bytes
from penstock_inference.runners.packet_sender import PacketSender
from penstock_inference.runners.process_streams import ProcessStream, ProcessStreams
from penstock_inference.runners.progress import BEAT_SECONDS, ProgressReader
from penstock_inference.runners.shared_tensors import SharedMemory, create_memory, datatype_of, plan
from penstock_inference.runners.wire import (
    MAX_PACKET,
    OUTPUT_SLOTS,
    Chunks,
    Failed,
    FromProcess,
    Loaded,
    Ran,
    Room,
    Run,
    TooSmall,
)

#: Bytes of the outputs of one batch at most.
MAX_OUTPUT_BYTES = 2**30
#: How many times as long as the longest run so far a run may take, if that is more than the bound of the settings.
_TIMES_LONGEST_RUN = 10.0
#: Seconds without a heartbeat after which it is taken for the reason of a run without an end.
_STILL_SECONDS = 4 * BEAT_SECONDS
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
        self._progress = ProgressReader(beats)
        self._memory_bytes = memory_bytes
        self._run_seconds = run_seconds
        self._longest_run = 0.0
        self._longest_step = 0.0
        self._run_bound = load_seconds
        self._pid = 0
        self._pidfd = -1
        self._private_at_fork = 0
        self._resident_at_fork = 0
        self._silence = _Stopwatch()
        self._work = _Stopwatch()
        self._closed = False
        self._unheard: asyncio.TimerHandle | None = None
        self._inputs: SharedMemory | None = None
        self._outputs: list[SharedMemory | None] = [None] * OUTPUT_SLOTS
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
        self._run_bound = self._run_seconds
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
        places, contents, size = plan(
            [(name, datatype_of(array), [inputs[name] for inputs in batch]) for name, array in batch[0].items()]
        )
        request = Run(places, self._free_slot())
        fds = []
        if self._inputs is None or self._inputs.size < size:
            self._inputs, fd = create_memory("inputs", size)
            request.inputs_bytes = self._inputs.size
            fds.append(fd)
        memory = self._outputs[request.slot]
        if memory is None or memory.in_use:
            memory, fd = create_memory("outputs", memory.size if memory else size)
            self._outputs[request.slot] = memory
            request.outputs_bytes = memory.size
            fds.append(fd)
        self._inputs.write(places, contents)
        started = time.monotonic()
        self._longest_step = 0.0
        self._packets.send(request, fds)
        reply = await self._next_reply()
        if isinstance(reply, TooSmall):
            reply = await self._give_room(request.slot, reply.outputs_bytes)
        # A run that shows its progress may take as long as it likes; one of its steps may not.
        in_steps = max(self._longest_step, self._work.seconds)
        self._longest_run = max(self._longest_run, in_steps if self._longest_step else time.monotonic() - started)
        self._run_bound = max(self._run_seconds, _TIMES_LONGEST_RUN * self._longest_run)
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
        self._silence.tick(seconds, self._progress.heard_beat())
        self._tick_work(seconds)
        taken = (
            private_bytes(self._pid)
            - self._private_at_fork
            - sum([memory.size for memory in (self._inputs, *self._outputs) if memory is not None])
            - self._streams.room_bytes
        )
        if self._silence.seconds > self._run_seconds:
            self.kill("silent", f"its process was stopped, or kept Python's lock, for {self._run_seconds:g} s")
        elif self._work.seconds > self._run_bound:
            still = self._silence.seconds > _STILL_SECONDS
            self.kill("silent" if still else "hang", f"a run, or the load, took more than {self._run_bound:.0f} s")
        elif taken > self._memory_bytes:
            self.kill("memory", f"its process took more than {self._memory_bytes // 2**20} MB")

    def _tick_work(self, seconds: float) -> None:
        """Count how long a run, the load or a step of streams has taken so far."""
        if not self.most_streams:
            moved = self._progress.moved()
            if moved:
                self._longest_step = max(self._longest_step, self._work.seconds, seconds)
            self._work.tick(seconds, moved or self._reply is None)
            return
        stepped = self._progress.stepped()
        if stepped:
            self._longest_run = max(self._longest_run, self._work.seconds)
            self._run_bound = max(self._run_seconds, _TIMES_LONGEST_RUN * self._longest_run)
        self._work.tick(seconds, stepped)

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
        self._inputs, self._outputs = None, [None] * OUTPUT_SLOTS
        self._progress.close()
        self.ended.set()
        self._streams.end(lambda: ProcessEndedError(self.reason))
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ProcessEndedError(self.reason))

    async def _next_reply(self) -> FromProcess:
        if self.ended.is_set():
            raise ProcessEndedError(self.reason)
        self._reply = self._loop.create_future()
        self._work.seconds = 0.0
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

    def _free_slot(self) -> int:
        """Return a slot whose memory nobody reads; if there is none, one that gets new memory."""
        for slot, memory in enumerate(self._outputs):
            if memory is not None and not memory.in_use:
                return slot
        return self._outputs.index(None) if None in self._outputs else 0

    async def _give_room(self, slot: int, size: int) -> FromProcess:
        if not 0 < size <= MAX_OUTPUT_BYTES:
            self._packets.send(Room(0), [])
            raise _bad_answer(f"The outputs of one batch take {size} bytes; {MAX_OUTPUT_BYTES} are possible.")
        memory, fd = create_memory("outputs", size)
        self._outputs[slot] = memory
        self._packets.send(Room(memory.size), [fd])
        return await self._next_reply()

    def _take(self, reply: Ran, slot: int, rows: int) -> list[NDArray[Any]]:
        """Return the outputs, once they prove to be what the process says and one row for each input row.

        The process can still change their values, and nothing else; it has no reason to, since they are its own.
        """
        memory = self._outputs[slot]
        if memory is None or len(reply.outputs) != len(self._manifest.outputs):
            raise self._broken()
        try:
            outputs = [memory.read(place) for place in reply.outputs]
        except (ValueError, PenstockError):
            raise self._broken() from None
        if any(output.ndim == 0 or len(output) != rows for output in outputs):
            raise self._broken()
        return outputs

    def _broken(self) -> ProcessEndedError:
        self.kill("protocol", "its process broke the protocol")
        return ProcessEndedError(self.reason)


class _Stopwatch:
    """Seconds since something last happened, as far as the server was awake to see it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def tick(self, seconds: float, happened: bool) -> None:
        self.seconds = 0.0 if happened else self.seconds + seconds


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

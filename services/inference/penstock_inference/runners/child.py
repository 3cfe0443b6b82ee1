"""A model's process, forked from a framework's parent: it confines itself, loads one model and runs its batches."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import msgspec
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.device_in_use import device_in_use
from penstock_inference.runners.sandbox import bound_resources, enter_sandbox
from penstock_inference.runners.shared_tensors import SharedMemory, datatype_of, plan
from penstock_inference.runners.wire import (
    MAX_PACKET,
    MAX_TEXT,
    OUTPUT_SLOTS,
    Failed,
    FromProcess,
    FromServer,
    Loaded,
    Order,
    Ran,
    Room,
    Run,
    TooSmall,
)

PR_SET_PDEATHSIG = 1
#: Seconds between two heartbeats. They stop when the process does, or when something holds the interpreter's lock.
BEAT_SECONDS = 0.5
BEAT = struct.Struct("<Q")

#: Where the process's descriptors are, from 3 on.
_SOCKET, _ORDER, _BEATS = 3, 4, 5

#: How the frameworks, their allocators and C++ say that memory is short.
_SHORT_OF_MEMORY = ("allocate memory", "bad_alloc", "failed to allocate", "out of memory", "error code 12")
#: How they say that it is the GPU's.
_SIGNS_OF_GPU = ("cuda", "gpu")
#: Errors of PyTorch after which every further call of the GPU fails; only another process can use it again.
_GPU_LOST = ("AcceleratorError",)

_decode = msgspec.msgpack.Decoder(FromServer).decode
_encode = msgspec.msgpack.Encoder().encode


class Model(Protocol):
    """A loaded model."""

    def run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]: ...


Load = Callable[[Manifest, Path, int], Model]


def run_child(load: Load, parent: int, connection: int, order: int, beats: int) -> NoReturn:
    """Live as a model's process; called right after the fork.

    Args:
        load: loads a model from its manifest and its folder with a number of threads.
        parent: the process id of the parent, without which this process ends.
        connection: the descriptor of a socket to the server.
        order: of a file with an ``Order``.
        beats: of a page whose first 8 bytes the heartbeat counts up.
    """
    try:
        _leave_parent(parent, connection, order, beats)
        server = _Server(socket.socket(fileno=_SOCKET))
        try:
            wanted = msgspec.msgpack.decode(os.pread(_ORDER, os.fstat(_ORDER).st_size, 0), type=Order)
            os.close(_ORDER)
            bound_resources(wanted.memory_bytes)
            enter_sandbox(Path(wanted.folder))
            _start_heartbeat()
            started = time.monotonic()
            model = load(wanted.manifest, Path(wanted.folder), wanted.threads)
            server.send(Loaded(time.monotonic() - started, *device_in_use()))
        except Exception as err:
            server.send(_failed(err))
        else:
            while True:
                server.answer(model)
    finally:
        os._exit(1)


def _leave_parent(parent: int, connection: int, order: int, beats: int) -> None:
    """Die with the parent, and keep none of its descriptors."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (connection, order, beats)]
    for fd, place in zip(moved, (_SOCKET, _ORDER, _BEATS), strict=True):
        os.dup2(fd, place)
    os.closerange(_BEATS + 1, os.sysconf("SC_OPEN_MAX"))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _start_heartbeat() -> None:
    page = SharedMemory(_BEATS, os.fstat(_BEATS).st_size)
    os.close(_BEATS)

    def beat() -> None:
        count = 0
        while True:
            count += 1
            page.put(BEAT.pack(count))
            time.sleep(BEAT_SECONDS)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()


class _Server:
    """The server, as a model's process sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inputs: SharedMemory | None = None
        self._outputs: list[SharedMemory | None] = [None] * OUTPUT_SLOTS

    def send(self, message: FromProcess) -> None:
        os.write(_SOCKET, _encode(message))

    def answer(self, model: Model) -> None:
        """Wait for a batch, run it and send its outputs, or why there are none."""
        request, fds = self._receive()
        if not isinstance(request, Run):
            return
        if request.inputs_bytes:
            self._inputs = _map(fds.pop(0), request.inputs_bytes)
        if request.outputs_bytes:
            self._outputs[request.slot] = _map(fds.pop(0), request.outputs_bytes)
        memory = self._outputs[request.slot]
        assert self._inputs is not None
        assert memory is not None
        try:
            inputs = {place.name: self._inputs.read(place) for place in request.inputs}
            outputs = model.run(inputs)
            places, contents, size = plan([(str(n), datatype_of(output), [output]) for n, output in enumerate(outputs)])
            if size > memory.size:
                self.send(TooSmall(size))
                room, fds = self._receive()
                if not isinstance(room, Room) or not room.outputs_bytes:
                    return
                memory = self._outputs[request.slot] = _map(fds.pop(0), room.outputs_bytes)
            memory.write(places, contents)
        except Exception as err:
            self.send(_failed(err))
            if type(err).__name__ in _GPU_LOST:
                os._exit(1)
        else:
            self.send(Ran(places))

    def _receive(self) -> tuple[Run | Room, list[int]]:
        data, fds, _, _ = socket.recv_fds(self._connection, MAX_PACKET, 2)
        if not data:  # the server has gone, or wants this process to go
            os._exit(0)
        return _decode(data), fds


def _map(fd: int, size: int) -> SharedMemory:
    memory = SharedMemory(fd, size)
    os.close(fd)
    return memory


def _failed(err: Exception) -> Failed:
    text = ""
    with contextlib.suppress(Exception):  # it may be the model's own exception
        text = str(err)
    lowered = text.lower()
    short_of_memory = isinstance(err, MemoryError) or any(sign in lowered for sign in _SHORT_OF_MEMORY)
    return Failed(
        type(err).__name__[:100],
        text[:MAX_TEXT],
        err.status if isinstance(err, PenstockError) else 0,
        short_of_memory,
        short_of_memory and any(sign in lowered for sign in _SIGNS_OF_GPU),
    )

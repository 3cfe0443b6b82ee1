"""A model's process, forked from a framework's parent: it confines itself, loads one model and answers the server."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from penstock_common.manifest import Manifest, Priority
from penstock_inference.runners.child_batches import BatchLoop, BatchModel
from penstock_inference.runners.child_streams import StreamLoop, StreamModel
from penstock_inference.runners.device_in_use import device_in_use
from penstock_inference.runners.failure import failure_of
from penstock_inference.runners.progress import Progress
from penstock_inference.runners.sandbox import bound_resources, enter_sandbox
from penstock_inference.runners.server_connection import ServerConnection, map_memory
from penstock_inference.runners.wire import Loaded, Order

PR_SET_PDEATHSIG = 1

#: Of the process of a model that streams, whose steps no scheduler of ours grants: a quarter of the time of one that does
#: not step back (a nice value is a factor of 1.25; see sched_prio_to_weight in Linux).
_LOW_PRIORITY = 6

#: Where the process's descriptors are, from 3 on.
_SOCKET, _ORDER, _BEATS = 3, 4, 5

Model = BatchModel | StreamModel
Load = Callable[[Manifest, Path, int], Model]


def run_child(load: Load, parent: int, connection: int, order: int, beats: int) -> NoReturn:
    """Live as a model's process; called right after the fork.

    Args:
        load: loads a model from its manifest and its folder with a number of threads.
        parent: the process id of the parent, without which this process ends.
        connection: the descriptor of a socket to the server.
        order: of a file with an ``Order``.
        beats: of the page of ``Progress``.
    """
    try:
        _leave_parent(parent, connection, order, beats)
        server = ServerConnection(socket.socket(fileno=_SOCKET))
        progress = Progress(map_memory(_BEATS, os.fstat(_BEATS).st_size))
        try:
            wanted = msgspec.msgpack.decode(os.pread(_ORDER, os.fstat(_ORDER).st_size, 0), type=Order)
            os.close(_ORDER)
            bound_resources(wanted.memory_bytes)
            if wanted.manifest.stream and wanted.manifest.resources.priority is Priority.LOW:
                os.nice(_LOW_PRIORITY)
            enter_sandbox(Path(wanted.folder))
            progress.start_heartbeat()
            started = time.monotonic()
            model = load(wanted.manifest, Path(wanted.folder), wanted.threads)
            seconds = time.monotonic() - started
        except Exception as err:
            server.send(failure_of(err))
        else:
            _serve(server, model, progress, seconds)
    finally:
        os._exit(1)


def _serve(server: ServerConnection, model: Model, progress: Progress, load_seconds: float) -> NoReturn:
    """Answer what the model's kind answers, until the server goes."""
    if isinstance(model, StreamModel):
        server.send(Loaded(load_seconds, *device_in_use(), model.most_streams))
        StreamLoop(server, model, progress).serve()
    server.send(Loaded(load_seconds, *device_in_use(), longest_run=model.longest_run))
    BatchLoop(server, model, progress).serve()


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

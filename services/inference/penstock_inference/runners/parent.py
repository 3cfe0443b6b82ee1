"""A framework's parent: a process that has imported the framework, and forks a process for each version that uses it.

The libraries' memory is shared by all that it forks, and a fork takes milliseconds where an import takes seconds. It
runs no model and starts no thread, because a fork copies neither other threads nor what they were about to do.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock_common.gc_tuning import freeze_startup_objects
from penstock_inference.runners.child import PR_SET_PDEATHSIG, Load, run_child
from penstock_inference.runners.sandbox import features
from penstock_inference.runners.wire import MAX_PACKET, Died, Features, Forked

_encode = msgspec.msgpack.Encoder().encode


def run_parent(server: int, connection: int, prepare: Callable[[], None], load: Load) -> None:
    """Serve the server until it goes.

    Args:
        server: its process id.
        connection: the descriptor of a socket to it.
        prepare: imports the framework.
        load: what a forked process loads its model with.

    Raises:
        RuntimeError: the import started a thread.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        return
    prepare()
    tempfile.tempdir = "/nonexistent"  # a model cannot write files, and looking for a folder would be an error
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"The import started {threads - 1} threads, which a forked process would lack.")
    freeze_startup_objects()
    _Parent(socket.socket(fileno=connection), load).serve()


class _Parent:
    def __init__(self, connection: socket.socket, load: Load) -> None:
        self._server = connection
        self._load = load
        self._events = selectors.DefaultSelector()
        self._events.register(connection, selectors.EVENT_READ)

    def serve(self) -> None:
        self._send(features())
        while True:
            for key, _ in self._events.select():
                if key.fileobj is not self._server:
                    self._bury(key.fd, key.data)
                elif not self._fork():
                    return

    def _fork(self) -> bool:
        """Fork a process if the server asks for one; return False if the server has gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._server, MAX_PACKET, 3)
        except ConnectionResetError:
            return False
        if not data:
            return False
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            run_child(self._load, parent, *fds)
        for fd in fds:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._events.register(pidfd, selectors.EVENT_READ, pid)
        self._send(Forked(pid), pidfd)
        return True

    def _bury(self, pidfd: int, pid: int) -> None:
        """Collect a process that has ended, and say so."""
        self._events.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._send(Died(pid, os.waitstatus_to_exitcode(status)))

    def _send(self, message: Features | Forked | Died, *fds: int) -> None:
        socket.send_fds(self._server, [_encode(message)], list(fds))

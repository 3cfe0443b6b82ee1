"""Starts a process for a version: asks the parent of its framework to fork one, and starts that parent if need be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from penstock_common.manifest import Format, Manifest
from penstock_inference.metrics import CONFINED, PARENT_BYTES
from penstock_inference.runners.formats import FRAMEWORKS, Framework, missing_extra
from penstock_inference.runners.memory import resident_bytes
from penstock_inference.runners.process import LoadFailedError, ModelProcess
from penstock_inference.runners.shared_tensors import create_memory
from penstock_inference.runners.wire import MAX_PACKET, Died, Features, Fork, Forked, FromParent, Order

log = structlog.get_logger()

#: The module that a parent runs.
PROGRAM = "penstock_inference.runner_program"

#: What a parent gets of the server's environment, and with it the models: what libraries need, and no secret.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "LD_PRELOAD")
_PASSED_ON_PREFIXES = ("OMP_", "KMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_", "MALLOC_")
_ALWAYS = {
    # Threads that an import starts, which a forked process would lack.
    "OPENBLAS_NUM_THREADS": "1",
    # ONNX Runtime reports to its maker by default, from a thread of its own.
    "ORT_DISABLE_TELEMETRY": "1",
    # Torch looks for its caches there; no process can write them.
    "HOME": "/nonexistent",
}

_CHECK_SECONDS = 0.5
_IMPORT_SECONDS = 120.0

_decode = msgspec.msgpack.Decoder(FromParent).decode
_encode = msgspec.msgpack.Encoder().encode


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a parent gets of the server's environment."""
    passed_on = {
        name: value for name, value in environment.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return passed_on | _ALWAYS


class Forker:
    """Starts processes, and watches those that live.

    Args:
        run_seconds: after so long without progress a process is killed, unless its manifest allows more.
        load_seconds: that a load may take.
        program: the module that a parent runs.
    """

    def __init__(self, *, run_seconds: float, load_seconds: float, program: str = PROGRAM) -> None:
        self._run_seconds = run_seconds
        self._load_seconds = load_seconds
        self._program = program
        self._parents: dict[Framework, _Parent] = {}
        self._processes: set[ModelProcess] = set()
        self._watching: asyncio.Task[None] | None = None

    async def prepare(self, format_: Format) -> None:
        """Import the framework of a format, if no version has needed it yet.

        Raises:
            LoadFailedError: it could not be imported.
        """
        await self._parent(FRAMEWORKS[format_])

    async def start(self, manifest: Manifest, folder: Path, *, threads: int, memory_bytes: int) -> ModelProcess:
        """Return a process once its model is loaded and warm.

        Raises:
            LoadFailedError: it could not be loaded, or its framework is not installed.
        """
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        parent = await self._parent(FRAMEWORKS[manifest.format])
        process = parent.fork(
            _order(manifest, folder, threads, memory_bytes),
            run_seconds=max(self._run_seconds, manifest.resources.max_run_seconds or 0),
            load_seconds=self._load_seconds,
        )
        self._processes.add(process)
        try:
            await process.load()
        except BaseException:
            process.kill("load", "its load failed or was given up")
            raise
        return process

    async def close(self) -> None:
        """End all processes and parents."""
        if self._watching is not None:
            self._watching.cancel()
        for parent in self._parents.values():
            await parent.stop()
        self._parents.clear()

    async def _parent(self, framework: Framework) -> _Parent:
        if extra := missing_extra(framework):
            raise LoadFailedError(
                f"this installation lacks {extra}; install it with pip install 'penstock-inference[{extra}]'",
                permanent=True,
            )
        parent = self._parents.get(framework)
        if parent is None or parent.gone:
            parent = self._parents[framework] = _Parent(framework, self._program)
        await parent.ready()
        return parent

    async def _watch(self) -> None:
        """Check each process regularly.

        Time in which the server itself did not run is not held against a process: whatever kept the server from
        running, such as a machine that is overloaded or was suspended, may have kept the process from it too.
        """
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            for process in list(self._processes):
                process.check(_CHECK_SECONDS)
                if process.ended.is_set():
                    self._processes.discard(process)


class _Parent:
    """The parent of one framework, as the server sees it."""

    def __init__(self, framework: Framework, program: str) -> None:
        self._framework = framework
        self._loop = asyncio.get_running_loop()
        self._connection, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.setblocking(False)
        with other:
            self._process = subprocess.Popen(  # noqa: S603 (our own program)
                [sys.executable, "-P", "-m", program, framework, str(os.getpid()), str(other.fileno())],
                stdin=subprocess.DEVNULL,
                env=clean_environment(os.environ),
                cwd="/",
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self._features: asyncio.Future[Features] = self._loop.create_future()
        self._forking: deque[ModelProcess] = deque()
        self._forked: dict[int, ModelProcess] = {}
        self._loop.add_reader(self._connection.fileno(), self._read)
        self.gone = False
        PARENT_BYTES.labels(framework).set_function(lambda: resident_bytes(self._process.pid))

    async def ready(self) -> None:
        """Wait until the framework is imported.

        Raises:
            LoadFailedError: the parent ended instead, or needs too long.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._features), _IMPORT_SECONDS)
        except TimeoutError:
            self._end()
            raise LoadFailedError(f"{self._framework} could not be imported within {_IMPORT_SECONDS:.0f} s") from None

    def fork(self, order: Order, *, run_seconds: float, load_seconds: float) -> ModelProcess:
        """Ask for a process that loads a model; the parent answers later, and the process after it."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        beats, beats_fd = create_memory("beats", 1)
        order_fd = os.memfd_create("order", os.MFD_CLOEXEC)
        os.write(order_fd, _encode(order))
        process = ModelProcess(
            order.manifest,
            ours,
            beats,
            memory_bytes=order.memory_bytes,
            run_seconds=run_seconds,
            load_seconds=load_seconds,
        )
        self._forking.append(process)
        try:
            socket.send_fds(self._connection, [_encode(Fork())], [its.fileno(), order_fd, beats_fd])
        except OSError:
            self._end()
        finally:
            its.close()
            os.close(order_fd)
            os.close(beats_fd)
        return process

    async def stop(self) -> None:
        """End the parent, and with it all its processes."""
        self._end()
        await asyncio.to_thread(self._process.wait)

    def _read(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._connection, MAX_PACKET, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._end()
            return
        match _decode(data):
            case Features() as features:
                _report(features)
                self._features.set_result(features)
            case Forked(pid):
                process = self._forked[pid] = self._forking.popleft()
                process.forked(pid, fds[0])
            case Died(pid, status):
                self._forked.pop(pid).died(status)

    def _end(self) -> None:
        """Take note that the parent has gone, or make it go; its processes die with it."""
        if self.gone:
            return
        self.gone = True
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        self._process.kill()
        with contextlib.suppress(KeyError):
            PARENT_BYTES.remove(self._framework)
        if not self._features.done():
            error = LoadFailedError(f"the process that imports {self._framework} ended; its output says why")
            self._features.set_exception(error)
            self._features.exception()  # nobody may wait for it
        for process in (*self._forking, *self._forked.values()):
            process.died(-signal.SIGKILL)
        self._loop.run_in_executor(None, self._process.wait)


def _order(manifest: Manifest, folder: Path, threads: int, memory_bytes: int) -> Order:
    return Order(manifest, str(folder.absolute()), threads, memory_bytes)


def _report(features: Features) -> None:
    """Say what this kernel has to confine processes with."""
    CONFINED.labels("seccomp").set(features.seccomp)
    CONFINED.labels("landlock").set(features.landlock)
    if not (features.seccomp and features.landlock):
        log.warning(
            "models are confined less than they should be",
            seccomp=features.seccomp,
            landlock=features.landlock,
            remedy="use a kernel from 5.13 on, and a container profile that allows seccomp and Landlock",
        )

"""``python -m penstock_cli.supervisor STATE LOG LOG_BYTES COMMAND...``: keep one part of an installation running.

A part that ends is started again, after a pause that grows; one that keeps ending is given up. What it prints goes
to LOG and its rotated files, what happens to it into STATE. SIGTERM ends the part and then the supervisor. If the
supervisor is killed, the kernel kills the part (Linux): there are no orphans that hold ports.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock_cli.part_state import PartState
from penstock_cli.restart_policy import RestartPolicy
from penstock_cli.rotated_log import RotatedLog

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_READ_BYTES = 64 * 1024
#: What a part may print before its supervisor reads; it stands still when the pipe is full.
_PIPE_BYTES = 256 * 1024


class Supervisor:
    """Runs ``command`` until it is told to stop, or the policy gives up.

    It has one thread: a child is forked from it with work to do before it executes, and the kernel ends the child
    with the thread that forked it.
    """

    def __init__(self, command: Sequence[str], state: Path, log: RotatedLog) -> None:
        self._command = command
        self._state_path = state
        self._state = PartState()
        self._log = log
        self._signals = _signals()
        self._stopping = False

    def run(self) -> int:
        """Return 0 after a stop signal, 1 after the last restart."""
        policy = RestartPolicy()
        while True:
            started = time.monotonic()
            ended = self._run_once()
            if self._stopping:
                return 0
            delay = policy.delay_after(time.monotonic() - started)
            if delay is None:
                self._log.note(f"{ended}; it keeps ending and is not started again")
                self._show(pid=None, last_exit=ended, gave_up=True)
                return 1
            self._log.note(f"{ended}; starting it again in {delay:g} s")
            self._show(pid=None, last_exit=ended, restarts=self._state.restarts + 1)
            self._wait(delay)
            if self._stopping:
                return 0

    def _run_once(self) -> str:
        """Start the part and return how it ended."""
        try:
            child = subprocess.Popen(  # noqa: S603 (our own commands)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pipesize=_PIPE_BYTES,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as err:
            return f"cannot be started: {err}"
        self._show(pid=child.pid)
        if self._stopping:
            child.terminate()
        self._follow(child)
        return _describe(child.returncode)

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        """Copy what the part prints, and pass stop signals on, until it has ended.

        Its end is not the end of its output, which processes of its own may hold open.
        """
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        with child.stdout as output, selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            selector.register(output, selectors.EVENT_READ)
            while child.poll() is None:
                for key, _ in selector.select():
                    if key.fileobj is self._signals:
                        if self._stop_was_asked():
                            child.terminate()
                    elif not self._copy(output.fileno()):
                        selector.unregister(output)
            while self._copy(output.fileno()):
                pass

    def _copy(self, output: int) -> bool:
        """Copy a piece of the part's output; False if there is none."""
        try:
            data = os.read(output, _READ_BYTES)
        except BlockingIOError:
            return False
        self._log.write(data)
        return bool(data)

    def _wait(self, seconds: float) -> None:
        """Return after ``seconds``, or at a stop signal."""
        give_up = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            while not self._stopping and (left := give_up - time.monotonic()) > 0:
                if selector.select(left):
                    self._stop_was_asked()

    def _stop_was_asked(self) -> bool:
        """Read the signals that have come; True if one of them is a stop signal."""
        with contextlib.suppress(BlockingIOError):
            if set(self._signals.recv(256)) & set(_STOP_SIGNALS):
                self._stopping = True
                return True
        return False

    def _show(self, **changes: object) -> None:
        self._state = dataclasses.replace(self._state, **changes)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):  # a full disk
            self._state.write(self._state_path)


def _signals() -> socket.socket:
    """A socket from which the numbers of the signals that arrive can be read, one byte each."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.detach())
    for number in (*_STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return ours


def _die_with(parent: int) -> Callable[[], None] | None:
    """What a child does before it executes: ask the kernel for SIGKILL when its parent ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended in between
            os._exit(1)

    return ask


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def main() -> int:
    state, log, log_bytes, *command = sys.argv[1:]
    return Supervisor(command, Path(state), RotatedLog(Path(log), int(log_bytes))).run()


if __name__ == "__main__":
    sys.exit(main())

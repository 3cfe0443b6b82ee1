"""Starts, finds and stops the parts of an installation, each with a supervisor of its own.

A supervisor is identified by its pid and its start time, because the kernel reuses pids.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from penstock_cli.part_state import PartState

#: The end of a log that is read to show its last lines.
_TAIL_BYTES = 64 * 1024


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, so that a process that was just started is always recorded."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


class Processes:
    """The parts of one installation. Its home has their records in ``run/`` and their logs in ``logs/``.

    Args:
        log_bytes: of one part's log files, the rotated ones included.
    """

    def __init__(self, home: Path, log_bytes: int) -> None:
        self._run = home / "run"
        self._logs = home / "logs"
        self._log_bytes = log_bytes

    def log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def tail(self, name: str, lines: int = 12) -> str:
        """Return the last lines of a log."""
        try:
            with self.log_path(name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._run.glob("*.json"))

    def find(self, name: str) -> psutil.Process | None:
        """Return the supervisor of that part, or None if none runs."""
        path = self._run / f"{name}.json"
        try:
            record = json.loads(path.read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < 0.01
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, ValueError, KeyError, psutil.Error):
            return None

    def state(self, name: str) -> PartState:
        """Return what the part's supervisor last reported; without a running supervisor, the part does not run."""
        state = PartState.read(self._state_path(name))
        if state.pid is not None and (self.find(name) is None or not _runs(state.pid)):
            return dataclasses.replace(state, pid=None)
        return state

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a part in a session of its own, so that the terminal's signals do not reach it."""
        self._run.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        self._state_path(name).unlink(missing_ok=True)
        supervisor = [sys.executable, "-m", "penstock_cli.supervisor"]
        options = [str(self._state_path(name)), str(self.log_path(name)), str(self._log_bytes)]
        with self.log_path(name).open("ab") as log, uninterrupted():
            child = subprocess.Popen(  # noqa: S603 (our own commands)
                [*supervisor, *options, *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            record = {"pid": child.pid, "created": psutil.Process(child.pid).create_time()}
            (self._run / f"{name}.json").write_text(json.dumps(record))

    def stop(self, names: Sequence[str], patience: float = 30.0) -> list[str]:
        """Send SIGTERM, and after ``patience`` seconds SIGKILL; return the names of the parts that were running."""
        running = {name: process for name in names if (process := self.find(name)) is not None}
        for process in running.values():
            process.terminate()
        _, alive = psutil.wait_procs(list(running.values()), timeout=patience)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
        for name in names:
            (self._run / f"{name}.json").unlink(missing_ok=True)
            self._state_path(name).unlink(missing_ok=True)
        return list(running)

    def _state_path(self, name: str) -> Path:
        return self._run / f"{name}.state"


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def port_holder(port: int) -> str | None:
    """Describe the process that listens on a port of this machine; return None if the port is free."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                return "a process of another user"
            try:
                process = psutil.Process(connection.pid)
                return f"pid {connection.pid} ({' '.join(process.cmdline())[:100]})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None

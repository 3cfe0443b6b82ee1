"""Starts, finds and stops detached processes.

A process is identified by its pid and its start time, because the kernel reuses pids.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil


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
    """The processes of one installation. Its home has their records in ``run/`` and their logs in ``logs/``."""

    def __init__(self, home: Path) -> None:
        self._run = home / "run"
        self._logs = home / "logs"

    def log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def tail(self, name: str, lines: int = 12) -> str:
        path = self.log_path(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._run.glob("*.json"))

    def find(self, name: str) -> psutil.Process | None:
        """Return the running process of that name, or None."""
        path = self._run / f"{name}.json"
        try:
            record = json.loads(path.read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < 0.01
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, ValueError, KeyError, psutil.Error):
            return None

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process in a session of its own, so that the terminal's signals do not reach it."""
        self._run.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log_path(name).open("ab") as log, uninterrupted():
            child = subprocess.Popen(  # noqa: S603 (our own commands)
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            record = {"pid": child.pid, "created": psutil.Process(child.pid).create_time()}
            (self._run / f"{name}.json").write_text(json.dumps(record))

    def stop(self, names: Sequence[str], patience: float = 30.0) -> list[str]:
        """Send SIGTERM, and after ``patience`` seconds SIGKILL; return the names of the processes that were running."""
        running = {name: process for name in names if (process := self.find(name)) is not None}
        for process in running.values():
            process.terminate()
        _, alive = psutil.wait_procs(list(running.values()), timeout=patience)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
        for name in names:
            (self._run / f"{name}.json").unlink(missing_ok=True)
        return list(running)


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

"""Runs the servers under test as pinned processes, and stops all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.installation import ROOT

SERVING_CPU, LOAD_CPU = 0, 1
PIN = ("taskset", "-c", str(SERVING_CPU))

_START_SECONDS = 60
_STOP_SECONDS = 30


@contextmanager
def server(
    command: Sequence[str], *, ready_url: str, environment: Mapping[str, str] | None = None, folder: Path = ROOT
) -> Iterator[int]:
    """Run ``command`` on the serving core during the block, which begins when ``ready_url`` answers 200; yield its process id.

    The server leads a process group of its own. At the end, every process of the group is stopped.

    Raises:
        SystemExit: the server ended before it was ready, or did not answer in time.
    """
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    child = subprocess.Popen(
        [*PIN, *command], env=variables, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_until_ready(child, ready_url, command)
        yield child.pid  # taskset becomes the command
    finally:
        _stop_group(child)


def _wait_until_ready(child: subprocess.Popen[bytes], url: str, command: Sequence[str]) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if child.poll() is not None:
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode} before it answered")
        if time.monotonic() > give_up:
            raise SystemExit(f"{' '.join(command)} did not answer {url} within {_START_SECONDS} s")
        time.sleep(0.1)


def _stop_group(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        give_up = time.monotonic() + _STOP_SECONDS
        try:
            os.killpg(child.pid, number)
            while time.monotonic() < give_up:
                child.poll()  # a process that has ended remains in the group until it is waited for
                os.killpg(child.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return

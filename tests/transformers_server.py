"""``transformers serve``, the server of OpenAI's API that transformers comes with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.installation import free_ports, until

_START_SECONDS = 300


class OpenAIServer(NamedTuple):
    """A running server of OpenAI's API.

    Args:
        url: under which the paths of its API lie, usually with ``/v1`` at its end.
        model: what it calls the model.
        pid: of its process.
    """

    url: str
    model: str
    pid: int


@contextmanager
def transformers_server(folder: Path, log: Path, *, prefix: Sequence[str] = ()) -> Iterator[OpenAIServer]:
    """Serve the model in a folder on the CPU; it is loaded when the block begins.

    Args:
        log: file for what the server prints.
        prefix: words put before its command, e.g. ``taskset -c 0``.
    """
    (port,) = free_ports(1)
    program = str(Path(sys.executable).with_name("transformers"))
    command = [*prefix, program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(f"{url}/health"), f"transformers to serve; see {log}", seconds=_START_SECONDS)
            yield OpenAIServer(f"{url}/v1", str(folder), process.pid)
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False

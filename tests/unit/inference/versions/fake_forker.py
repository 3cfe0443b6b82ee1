"""A forker that forks nothing: its processes answer in this one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from penstock_common.manifest import Format, Manifest
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.runners.process import LoadFailedError, ProcessEndedError


class FakeProcess:
    """A model that sums each row; it ends when it is stopped or ``end`` is called."""

    pid = 0

    def __init__(self, device: str, gpu_bytes: int) -> None:
        self.device, self.gpu_bytes = device, gpu_bytes
        self.cause = self.reason = ""
        self.ended = asyncio.Event()

    async def run(self, batch: Sequence[Arrays], rows: int) -> Outputs:
        if self.ended.is_set():
            raise ProcessEndedError(self.reason)
        values = np.concatenate([inputs["x"] for inputs in batch])
        return [values.reshape(rows, -1).sum(axis=1)]

    def resident_bytes(self) -> int:
        return 0

    def most_taken_bytes(self) -> int:
        return 200 * 2**20

    def end(self, cause: str = "sigkill") -> None:
        self.cause, self.reason = cause, f"its process was ended by {cause.upper()}"
        self.ended.set()

    async def stop(self) -> None:
        self.end("stopped")


class FakeForker:
    """Starts a process for each folder whose model file is not ``no model``; calls ``on_start`` for each."""

    device, gpu_bytes = "cpu", 0

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.on_start: Callable[[], None] = lambda: None

    async def prepare(self, format_: Format) -> None:
        pass

    async def start(self, manifest: Manifest, folder: Path, *, threads: int, memory_bytes: int) -> FakeProcess:
        if (folder / manifest.file).read_bytes() == b"no model":
            raise LoadFailedError("RuntimeError: no model", permanent=True)
        self.on_start()
        self.processes.append(FakeProcess(self.device, self.gpu_bytes))
        return self.processes[-1]

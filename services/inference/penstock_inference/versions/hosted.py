"""One model version on this pod, from the start of its load until it is closed."""

from __future__ import annotations

import asyncio
from enum import StrEnum

from penstock_common.registry_models import Version
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.streams import StreamEngine
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process import LoadFailedError, ModelProcess
from penstock_inference.versions.artifact_cache import artifact_digest


class State(StrEnum):
    """The states of Triton's repository index."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class HostedVersion:
    """A version's state and, once it is READY, its engine and its process.

    Attributes:
        digest: of its artifact.
        reason: why the newest load failed, or why its process ended; empty if READY.
        settled: set when the version is READY, when its first load has failed, or when it is closed.
        unnamed_since: the ``time.monotonic()`` since which no alias names the version; None while one does.
        try_now: ends the pause after a failed load.
        loading: the task that loads it, and again whenever its process ends.
        metrics: its series; whoever hosts it removes them.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self.digest = artifact_digest(version)
        self.state = State.LOADING
        self.reason = ""
        self.settled = asyncio.Event()
        self.unnamed_since: float | None = None
        self.try_now = asyncio.Event()
        self.loading: asyncio.Task[None] | None = None
        self.metrics = VersionMetrics(version.model, version.version)
        self._engine: Engine | StreamEngine | None = None
        self._process: ModelProcess | None = None

    @property
    def was_ready(self) -> bool:
        """Whether the version has been READY since it is hosted."""
        return self._engine is not None

    @property
    def engine(self) -> Engine | StreamEngine:
        """The engine of a READY version."""
        assert self._engine is not None
        return self._engine

    def succeeded(self, process: ModelProcess, engine: Engine | StreamEngine) -> None:
        """Become READY."""
        self._process, self._engine = process, engine
        self.metrics.follow_process(process.resident_bytes)
        if process.gpu_bytes:
            self.metrics.show_gpu(process.device, process.gpu_bytes)
        self.state, self.reason = State.READY, ""
        engine.run_on(process)
        self.settled.set()

    def restarting(self, reason: str) -> None:
        """Become LOADING again, because the process ended."""
        self._process = None
        self.state, self.reason = State.LOADING, reason

    def try_again(self) -> None:
        """Become LOADING again at once, if the newest load has failed."""
        if self.state is State.UNAVAILABLE:
            self.state = State.LOADING
            self.settled.clear()
            self.try_now.set()

    def failed(self, reason: Exception | str) -> None:
        """Become UNAVAILABLE; messages that wait go to another pod."""
        if isinstance(reason, LoadFailedError):
            reason = str(reason)
        elif isinstance(reason, Exception):
            reason = f"{type(reason).__name__}: {reason}"
        self.state, self.reason = State.UNAVAILABLE, reason[:500]
        if self._engine is not None:
            self._engine.refuse_waiting(reason)
        self.settled.set()

    async def close(self) -> None:
        """Stop loading, or wait until every message that was accepted is answered; then end the process."""
        if self.loading is not None:
            self.loading.cancel()
        self.settled.set()
        if self._engine is not None:
            await self._engine.drain()
        if self._process is not None:
            await self._process.stop()

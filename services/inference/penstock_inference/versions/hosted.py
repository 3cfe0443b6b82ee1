"""One model version on this pod, from the start of its load until it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    """A version's state and, once it is READY, its engine and its processes. It is READY while one of them lives.

    Attributes:
        digest: of its artifact.
        weight_bytes: that its weights take once they are loaded; 0 until its files are here.
        reason: why the newest load failed, or why its last process ended; empty if READY.
        settled: set when the version is READY, when its first load has failed, or when it is closed.
        unnamed_since: the ``time.monotonic()`` since which no alias names the version; None while one does.
        try_now: ends the pause after a failed load.
        loaded: set once one of its processes has been loaded.
        loading: the task that loads it, and again whenever a process ends.
        metrics: its series; whoever hosts it removes them.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self.digest = artifact_digest(version)
        self.weight_bytes = 0
        self.state = State.LOADING
        self.reason = ""
        self.metrics = VersionMetrics(version.model, version.version)
        self.metrics.show_state(self.state.lower())
        self.settled = asyncio.Event()
        self.unnamed_since: float | None = None
        self.try_now = asyncio.Event()
        self.loaded = asyncio.Event()
        self.loading: asyncio.Task[None] | None = None
        self._engine: Engine | StreamEngine | None = None
        self._processes: set[ModelProcess] = set()

    @property
    def engine(self) -> Engine | StreamEngine:
        """The engine of a version that was READY; it outlives its processes."""
        assert self._engine is not None
        return self._engine

    def succeeded(self, process: ModelProcess, make_engine: Callable[[], Engine | StreamEngine]) -> None:
        """Take one more process; become READY if it is the only one."""
        if self._engine is None:
            self._engine = make_engine()
        self._processes.add(process)
        self.metrics.follow_process(self._resident_bytes)
        if process.gpu_bytes:
            self.metrics.show_gpu(process.device, sum([one.gpu_bytes for one in self._processes]))
        self._enter(State.READY)
        self._engine.run_on(process)
        self.loaded.set()
        self.settled.set()

    def lost(self, process: ModelProcess) -> None:
        """Take note that a process has ended; become LOADING again if it was the last one."""
        self._processes.discard(process)
        self.engine.lose(process, process.reason)
        if not self._processes:
            self._enter(State.LOADING, process.reason)

    def try_again(self) -> None:
        """Become LOADING again at once, if the newest load has failed."""
        if self.state is State.UNAVAILABLE:
            self._enter(State.LOADING, self.reason)
            self.settled.clear()
            self.try_now.set()

    def failed(self, reason: Exception | str) -> None:
        """Become UNAVAILABLE, unless a process lives; messages that wait go to another pod."""
        if self._processes:
            return
        if isinstance(reason, LoadFailedError):
            reason = str(reason)
        elif isinstance(reason, Exception):
            reason = f"{type(reason).__name__}: {reason}"
        self._enter(State.UNAVAILABLE, reason[:500])
        if self._engine is not None:
            self._engine.refuse_waiting(reason)
        self.settled.set()

    async def close(self) -> None:
        """Stop loading, or wait until every message that was accepted is answered; then end the processes."""
        if self.loading is not None:
            self.loading.cancel()
        self.settled.set()
        if self._engine is not None:
            await self._engine.drain()
        await asyncio.gather(*[process.stop() for process in self._processes])

    def _enter(self, state: State, reason: str = "") -> None:
        if state is not self.state:
            self.metrics.show_state(state.lower())
        self.state, self.reason = state, reason

    def _resident_bytes(self) -> int:
        return sum([process.resident_bytes() for process in self._processes])

"""One model version on this pod, from the start of its load until it is closed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from penstock_common.registry_models import Version
from penstock_inference.engine.engine import Engine
from penstock_inference.metrics import VersionMetrics
from penstock_inference.versions.artifact_cache import artifact_digest


class State(StrEnum):
    """The states of Triton's repository index."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class HostedVersion:
    """A version's state and, once it is READY, its engine.

    Attributes:
        digest: of its artifact.
        reason: why the newest load failed; empty unless UNAVAILABLE.
        settled: set when the version is READY, when its first load has failed, or when it is closed.
        unnamed_since: the ``time.monotonic()`` since which no alias names the version; None while one does.
        executor: the one thread in which the version is loaded and runs.
        loading: the task that loads it.
        metrics: its series; whoever hosts it removes them.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self.digest = artifact_digest(version)
        self.state = State.LOADING
        self.reason = ""
        self.settled = asyncio.Event()
        self.unnamed_since: float | None = None
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=f"{version.model}-{version.version}")
        self.loading: asyncio.Task[None] | None = None
        self.metrics = VersionMetrics(version.model, version.version)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine of a READY version."""
        assert self._engine is not None
        return self._engine

    def succeeded(self, engine: Engine) -> None:
        """Become READY."""
        self._engine = engine
        self.state, self.reason = State.READY, ""
        self.settled.set()

    def failed(self, err: Exception) -> None:
        """Become UNAVAILABLE."""
        self.state, self.reason = State.UNAVAILABLE, f"{type(err).__name__}: {err}"[:500]
        self.settled.set()

    async def close(self) -> None:
        """Stop loading, or wait until every message that was accepted is answered; then end the thread."""
        if self.loading is not None:
            self.loading.cancel()
        self.settled.set()
        if self._engine is not None:
            await self._engine.drain()
        self.executor.shutdown(wait=False)

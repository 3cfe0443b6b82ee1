"""Which model versions this pod serves: what the registry's aliases name.

A version is fetched, verified, loaded and warmed before it serves. One that no
alias names any more is kept for a while, for gateways that have not moved yet.
A load that fails keeps its reason, is tried again, and touches no other model.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import structlog

from penstock_common.errors import PenstockError
from penstock_common.pools import matches
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model, Snapshot, Version
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.scheduler import Batcher
from penstock_inference.metrics import LOAD_FAILURES, LOADED, gauges

log = structlog.get_logger()
_LONGEST_BACK_OFF = 30.0


class State(StrEnum):
    """As Triton's repository index words them."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class Served:
    """One version on this pod."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.state = State.LOADING
        self.reason = ""
        self.model: LoadedModel | None = None
        self.batcher: Batcher | None = None
        self.settled = asyncio.Event()  # ready, or failed for the first time
        self.unnamed_since: float | None = None
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=f"{version.model}-{version.version}")
        self.task: asyncio.Task[None] | None = None


class Repository:
    """The versions of a pool's models.

    Args:
        patterns: globs of the model names this pool serves.
        on_change: called when a model becomes ready or ceases to be.
    """

    def __init__(
        self,
        registry: RegistryClient,
        cache: Path,
        *,
        patterns: list[str],
        threads: int,
        max_queue_rows: int,
        retain_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._patterns = patterns
        self._threads = threads
        self._max_queue_rows = max_queue_rows
        self._retain_seconds = retain_seconds
        self._on_change = on_change
        self._models: dict[str, Model] = {}
        self._served: dict[tuple[str, int], Served] = {}
        self._unloaded: set[str] = set()
        self._loading = asyncio.Lock()  # one at a time: memory for two new versions may not be there
        self.synced = asyncio.Event()  # the first snapshot's versions are settled

    async def update(self, snapshot: Snapshot) -> None:
        """Take over a snapshot of the registry."""
        self._models = {m.name: m for m in snapshot.models if matches(m.name, self._patterns)}
        self._reconcile()
        if not self.synced.is_set():
            await asyncio.gather(*[served.settled.wait() for served in self._served.values()])
            self.synced.set()
            self._on_change()

    async def refresh(self) -> None:
        """Read the registry now; its absence changes nothing."""
        with contextlib.suppress(PenstockError):
            snapshot = await self._registry.watch()
            self._models = {m.name: m for m in snapshot.models if matches(m.name, self._patterns)}
            self._reconcile()

    def _reconcile(self) -> None:
        named = {
            (model.name, target.version)
            for model in self._models.values()
            if model.name not in self._unloaded
            for targets in model.aliases.values()
            for target in targets
        }
        for key in named:
            served = self._served.get(key)
            if served is None:
                served = self._served[key] = Served(self._models[key[0]].versions[key[1]])
                served.task = asyncio.create_task(self._load(served))
            served.unnamed_since = None
        for key, served in self._served.items():
            if key not in named and served.unnamed_since is None:
                served.unnamed_since = time.monotonic()

    async def sweep(self) -> None:
        """Let go of what no alias has named for a while, for ever."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for key, served in list(self._served.items()):
                if served.unnamed_since is not None and now - served.unnamed_since >= self._retain_seconds:
                    await self._unload(key)

    async def _unload(self, key: tuple[str, int]) -> None:
        served = self._served.pop(key)
        self._on_change()
        if served.task is not None:
            served.task.cancel()
        if served.batcher is not None:
            await served.batcher.drain()
        served.executor.shutdown(wait=False)
        self._count()
        log.info("unloaded", model=key[0], version=key[1])

    async def _load(self, served: Served) -> None:
        version = served.version
        failures = 0
        while True:
            try:
                async with self._loading:
                    await self._load_once(served)
                return
            except Exception as err:  # a model's file can fail in any way; the reason is for its owner
                failures += 1
                served.state = State.UNAVAILABLE
                served.reason = f"{type(err).__name__}: {err}"[:500]
                served.settled.set()
                LOAD_FAILURES.labels(version.model).inc()
                log.exception("load failed", model=version.model, version=version.version, failures=failures)
            pause = min(_LONGEST_BACK_OFF, 2.0 ** min(failures, 5))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)

    async def _load_once(self, served: Served) -> None:
        version = served.version
        started = time.monotonic()
        folder = self._cache / version.model / str(version.version)
        await self._registry.fetch(version, folder)
        loop = asyncio.get_running_loop()
        # In the thread of its longer runs: what a backend keeps per thread is warm there too.
        model = await loop.run_in_executor(served.executor, LoadedModel.load, version.manifest, folder, self._threads)
        served.model = model
        served.batcher = Batcher(
            model,
            served.executor,
            max_queue_rows=self._max_queue_rows,
            gauges=gauges(version.model, version.version),
        )
        served.state, served.reason = State.READY, ""
        served.settled.set()
        self._count()
        self._on_change()
        log.info("loaded", model=version.model, version=version.version, seconds=round(time.monotonic() - started, 2))

    def _count(self) -> None:
        LOADED.set(sum(served.state is State.READY for served in self._served.values()))

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether a version (a number, an alias, or empty for production) is loaded and warm."""
        model = self._models.get(name)
        if model is None:
            return False
        numbers = [int(version)] if version.isdecimal() else [t.version for t in self._targets(model, version)]
        found = [self._served.get((name, number)) for number in numbers]
        return bool(found) and all(s is not None and s.state is State.READY for s in found)

    def ready_models(self) -> set[str]:
        return {name for name, _ in self._served if self.model_ready(name)}

    def index(self) -> list[tuple[str, str, State, str]]:
        """Name, version, state and reason of all that is here or should be."""
        return [(n, str(v), s.state, s.reason) for (n, v), s in sorted(self._served.items())]

    async def find(self, name: str, version: str = "") -> Served:
        """The loaded version of a request; waits where it is being loaded.

        The caller's deadline ends the wait.

        Raises:
            PenstockError: 404 ``unknown-model``, ``unknown-version``; 503 ``model-unavailable``.
        """
        served = self._lookup(name, version)
        if served is None:
            # A gateway may have heard of it before this pod has.
            await self.refresh()
            served = self._lookup(name, version)
        if served is None:
            if name not in self._models:
                raise PenstockError(404, "unknown-model", f"This pool does not serve a model {name!r}.")
            raise PenstockError(
                404,
                "unknown-version",
                f"Version {version or PRODUCTION!r} of {name!r} is not served; no alias names it.",
            )
        if served.state is State.LOADING:
            await served.settled.wait()
        if served.state is not State.READY:
            raise PenstockError(
                503, "model-unavailable", f"Version {served.version.version} of {name!r} could not be loaded here."
            )
        return served

    def _lookup(self, name: str, version: str) -> Served | None:
        if version.isdecimal():
            return self._served.get((name, int(version)))
        model = self._models.get(name)
        targets = self._targets(model, version) if model else []
        if not targets:
            return None
        chosen = random.choices(targets, [t.weight for t in targets])[0]  # noqa: S311 (traffic split)
        return self._served.get((name, chosen.version))

    @staticmethod
    def _targets(model: Model, alias: str) -> list[AliasTarget]:
        return model.aliases.get(alias or PRODUCTION, [])

    async def load(self, name: str) -> bool:
        """Serve a model again after ``unload``; waits until it is settled."""
        self._unloaded.discard(name)
        await self.refresh()
        waiting = [s for (n, _), s in self._served.items() if n == name]
        await asyncio.gather(*[s.settled.wait() for s in waiting])
        return self.model_ready(name)

    async def unload(self, name: str) -> None:
        """Serve a model no more on this pod, until ``load``."""
        self._unloaded.add(name)
        for key in [key for key in self._served if key[0] == name]:
            await self._unload(key)

    async def drain(self) -> None:
        """Wait until everything accepted is answered, then let go of all."""
        for served in self._served.values():
            if served.batcher is not None:
                await served.batcher.drain()
            if served.task is not None:
                served.task.cancel()
            served.executor.shutdown(wait=False)

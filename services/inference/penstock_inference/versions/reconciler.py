"""Makes the versions on this pod those that should be here.

After a promotion the new version is loaded and warm before the old one goes: a
version that no alias names any more is kept for a while, for gateways that have
not heard of the change yet. A version that cannot be loaded touches no other, and
what its alias named before answers in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from penstock_common.errors import PenstockError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import Snapshot
from penstock_inference.metrics import LOADED, remove_model_series
from penstock_inference.versions.artifact_cache import ArtifactCache, artifact_digest
from penstock_inference.versions.desired import DesiredVersions, VersionKey
from penstock_inference.versions.fetch_and_load import VersionLoader
from penstock_inference.versions.hosted import HostedVersion, State

log = structlog.get_logger()

#: How long a request for an unknown version waits for the registry.
_REFRESH_SECONDS = 1.0


class Reconciler:
    """Loads and unloads versions.

    Args:
        cache: trimmed whenever a version leaves.
        retain_seconds: how long a version that no alias names any more is kept.
        on_change: called when a version becomes ready or leaves.

    Attributes:
        hosted: the versions on this pod, in whatever state.
        synced: set when each version of the first snapshot is READY or has failed to load.
    """

    def __init__(
        self,
        registry: RegistryClient,
        loader: VersionLoader,
        cache: ArtifactCache,
        desired: DesiredVersions,
        *,
        retain_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._loader = loader
        self._cache = cache
        self._retain_seconds = retain_seconds
        self._on_change = on_change
        self.desired = desired
        self.hosted: dict[VersionKey, HostedVersion] = {}
        self.synced = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def update(self, snapshot: Snapshot) -> None:
        """Start the loads that a snapshot of the registry asks for; wait for those of the first snapshot."""
        self.desired.update(snapshot)
        self._reconcile()
        if not self.synced.is_set():
            await self._settled(self.hosted)
            self.synced.set()
            self._on_change()

    async def refresh(self) -> None:
        """Read the registry now; callers at the same time share one read. Return after ``_REFRESH_SECONDS`` at most.

        If the registry cannot be reached, nothing changes.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        await asyncio.wait([self._reading], timeout=_REFRESH_SECONDS)

    async def unload_unnamed(self) -> None:
        """Call ``unload_expired`` each second, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            await self.unload_expired()

    async def unload_expired(self) -> None:
        """Unload each version that no alias has named for ``retain_seconds``."""
        now = time.monotonic()
        expired = [
            key
            for key, hosted in self.hosted.items()
            if hosted.unnamed_since is not None and now - hosted.unnamed_since >= self._retain_seconds
        ]
        await self._unload(expired)

    async def load_model(self, name: str) -> None:
        """Host a model again after ``unload_model``, or try again to load what has failed.

        Return when each of its versions is READY or has failed.
        """
        self.desired.load(name)
        await self.refresh()
        keys = [key for key in self.hosted if key[0] == name]
        for key in keys:
            self.hosted[key].try_again()
        await self._settled(keys)

    async def unload_model(self, name: str) -> None:
        """Host no version of a model, until ``load_model``."""
        self.desired.unload(name)
        await self._unload([key for key in self.hosted if key[0] == name])

    async def close(self) -> None:
        """Wait until every message that was accepted is answered; end all loads and processes."""
        if self._reading is not None:
            self._reading.cancel()
        await asyncio.gather(*self._closing, *[hosted.close() for hosted in self.hosted.values()])

    async def _read(self) -> None:
        with contextlib.suppress(PenstockError):
            self.desired.update(await self._registry.watch())
            self._reconcile()

    def _reconcile(self) -> None:
        ready = {key for key, hosted in self.hosted.items() if hosted.state is State.READY}
        failed = {key for key, hosted in self.hosted.items() if hosted.state is State.UNAVAILABLE}
        wanted = self.desired.keys(ready, failed)
        for key in wanted:
            if key in self.hosted and self.hosted[key].digest != artifact_digest(self.desired.version(key)):
                # The registry was rebuilt: the number now means another artifact, as which this one must not answer.
                self._closing.add(task := asyncio.create_task(self._close([self.hosted.pop(key)])))
                task.add_done_callback(self._closing.discard)
            if key not in self.hosted:
                hosted = self.hosted[key] = HostedVersion(self.desired.version(key))
                hosted.loading = asyncio.create_task(self._loader.keep_loaded(hosted, self._state_changed))
            self.hosted[key].unnamed_since = None
        for key, hosted in self.hosted.items():
            if key not in wanted and hosted.unnamed_since is None:
                hosted.unnamed_since = time.monotonic()

    async def _unload(self, keys: Sequence[VersionKey]) -> None:
        if keys:
            await self._close([self.hosted.pop(key) for key in keys])

    async def _close(self, leaving: list[HostedVersion]) -> None:
        """Let versions that are not hosted any more answer what they have, and leave nothing of them."""
        self._changed()
        while leaving:
            hosted = leaving.pop()
            await hosted.close()
            self._remove_series(hosted)
            log.info("unloaded", model=hosted.version.model, version=hosted.version.version)
            del hosted
        await self._cache.trim({hosted.digest for hosted in self.hosted.values()})

    def _remove_series(self, closed: HostedVersion) -> None:
        """Remove the series that no version on the pod has any more."""
        model = closed.version.model
        if (model, closed.version.version) not in self.hosted:
            closed.metrics.remove()
        if not any(name == model for name, _ in self.hosted):
            remove_model_series(model)

    def _state_changed(self) -> None:
        """A version has become ready or has failed, so another one may be needed now, or not any more."""
        self._reconcile()
        self._changed()

    def _changed(self) -> None:
        LOADED.set(sum(hosted.state is State.READY for hosted in self.hosted.values()))
        self._on_change()

    async def _settled(self, keys: Iterable[VersionKey]) -> None:
        await asyncio.gather(*[self.hosted[key].settled.wait() for key in keys])

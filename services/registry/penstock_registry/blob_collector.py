"""Removes uploads that were never committed."""

from __future__ import annotations

import asyncio
import time

import structlog
from prometheus_client import Counter

from penstock_common.object_store.folder_store import UNFINISHED, FolderStore
from penstock_common.object_store.store import ObjectStore
from penstock_registry.blobs import FOLDER, UPLOADS
from penstock_registry.model_logs import ModelLogs

logger = structlog.get_logger()
COLLECTED = Counter("penstock_registry_collected_blobs_total", "Uploads removed that no version names.")

_ROUNDS = 8  # in a grace period


class BlobCollector:
    """Removes blobs that no log names once they are older than ``grace`` seconds.

    A version is committed only with blobs that a log names already or that are younger than three quarters
    of the grace, so none of those removed here can be about to be named. While some log cannot be read in
    full nothing is removed, since that log may name it.
    """

    def __init__(self, store: ObjectStore, logs: ModelLogs, grace: float) -> None:
        self._store = store
        self._logs = logs
        self._grace = grace

    async def run(self) -> None:
        """Collect from time to time, until cancelled."""
        while True:
            await asyncio.sleep(self._grace / _ROUNDS)
            try:
                await self.collect()
            except Exception as err:  # the stores raise errors of many types
                logger.warning("uncommitted uploads could not be collected", error=str(err))

    async def collect(self) -> int:
        """Return how many blobs were removed."""
        oldest = time.time() - self._grace
        arrivals = UNFINISHED if isinstance(self._store, FolderStore) else UPLOADS
        for unfinished in await self._store.list_objects(arrivals):
            if unfinished.modified < oldest:
                await self._store.delete(unfinished.key)
        candidates = [blob for blob in await self._store.list_objects(FOLDER) if blob.modified < oldest]
        if not candidates:
            return 0
        await self._logs.refresh_all()
        damaged = [state.model.name for state in self._logs.states if state.model.damage]
        if not self._logs.complete or self._logs.failing or damaged:
            logger.warning("nothing is collected while a log cannot be read", models=[*self._logs.failing, *damaged])
            return 0
        named = self._logs.named_blobs()
        removed = [blob for blob in candidates if blob.key.rpartition("/")[2] not in named]
        for blob in removed:
            await self._store.delete(blob.key)
            logger.info("an upload was removed that no version names", blob=blob.key, bytes=blob.size)
        COLLECTED.inc(len(removed))
        return len(removed)

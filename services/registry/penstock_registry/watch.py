"""Long polls: a caller of ``/v1/watch`` gets every change, whichever replica wrote it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import structlog

from penstock_common.registry_models import Snapshot
from penstock_registry.model_log import ModelLogs

logger = structlog.get_logger()


class Watch:
    """The registry's state as a snapshot with a cursor.

    Args:
        logs: read again every ``interval`` seconds for what other replicas wrote.
    """

    def __init__(self, logs: ModelLogs, interval: float = 1.0) -> None:
        self._logs = logs
        self._interval = interval
        self._changed = asyncio.Event()
        self.store_reachable = False

    def snapshot(self) -> Snapshot:
        models = sorted(self._logs.states.values(), key=lambda m: m.name)
        digest = hashlib.sha256("".join(f"{m.name}:{m.revision};" for m in models).encode()).hexdigest()
        return Snapshot(digest[:16], models)

    def wake(self) -> None:
        """Wake all long polls; call it after a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, cursor: str, seconds: float) -> Snapshot:
        """Return at once if ``cursor`` is not the newest, else after a change or ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.snapshot().cursor == cursor:
                    await self._changed.wait()
        return self.snapshot()

    async def follow_store(self) -> None:
        """Keep the state up to date until cancelled; while the store is away, the last good state is served."""
        while True:
            try:
                await self._refresh()
            except Exception as err:  # the stores raise errors of many types
                if self.store_reachable:
                    logger.warning("the store cannot be reached", error=str(err))
                self.store_reachable = False
            await asyncio.sleep(self._interval)

    async def _refresh(self) -> None:
        before = self.snapshot().cursor
        await self._logs.refresh_all()
        self.store_reachable = True
        if self.snapshot().cursor != before:
            self.wake()

"""Long polls: who watches hears of every change, whichever replica wrote it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import structlog

from penstock_common.registry_models import Snapshot
from penstock_registry.log import Logs

log = structlog.get_logger()


class Watch:
    """The registry's state as a snapshot with a cursor.

    Args:
        logs: read anew every ``interval`` seconds for what other replicas wrote.
    """

    def __init__(self, logs: Logs, interval: float = 1.0) -> None:
        self._logs = logs
        self._interval = interval
        self._changed = asyncio.Event()
        self.reachable = False

    def snapshot(self) -> Snapshot:
        models = sorted(self._logs.states.values(), key=lambda m: m.name)
        digest = hashlib.sha256("".join(f"{m.name}:{m.revision};" for m in models).encode()).hexdigest()
        return Snapshot(digest[:16], models)

    def changed(self) -> None:
        """Wake those who wait."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, cursor: str, seconds: float) -> Snapshot:
        """At once where ``cursor`` is not the newest, else after a change or ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.snapshot().cursor == cursor:
                    await self._changed.wait()
        return self.snapshot()

    async def refresh(self) -> None:
        before = self.snapshot().cursor
        await self._logs.refresh_all()
        self.reachable = True
        if self.snapshot().cursor != before:
            self.changed()

    async def run(self) -> None:
        """Follow the store, for ever."""
        while True:
            try:
                await self.refresh()
            except Exception as err:  # the store's own errors are of many kinds; the last good state stays
                if self.reachable:
                    log.warning("the store is away", error=str(err))
                self.reachable = False
            await asyncio.sleep(self._interval)

"""Long polls: a caller of ``/v1/watch`` gets every change, whichever replica wrote it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time

import structlog

from penstock_common.errors import PenstockError
from penstock_common.registry_models import Snapshot
from penstock_registry.model_logs import ModelLogs

logger = structlog.get_logger()


class Watch:
    """The registry's state as a snapshot with a cursor.

    Args:
        logs: asked for what other replicas wrote every ``interval`` seconds, and less often while nothing
            changes: after a quiet time of t seconds every t/10 seconds, at most ``idle_interval``.
    """

    def __init__(self, logs: ModelLogs, interval: float = 1.0, idle_interval: float = 5.0) -> None:
        self._logs = logs
        self._interval = interval
        self._idle_interval = idle_interval
        self._changed = asyncio.Event()
        self._last_change = time.monotonic()
        self.store_reachable = False
        logs.on_change = self.wake

    @property
    def started(self) -> bool:
        """The store has been read once, so that a snapshot is whole."""
        return self._logs.complete

    def snapshot(self) -> Snapshot:
        """The present state.

        Raises:
            PenstockError: 503 ``registry-starting`` before the store has been read once.
        """
        if not self.started:
            raise PenstockError(
                503,
                "registry-starting",
                "The registry has not read its store yet; try again shortly.",
                headers={"Retry-After": "1"},
            )
        models = [state.model for state in self._logs.states]
        digest = hashlib.sha256("".join(f"{m.name}:{m.revision}:{m.damage};" for m in models).encode()).hexdigest()
        return Snapshot(f"{self._logs.store_id[:16]}-{digest[:16]}", models, self._logs.store_id)

    def wake(self) -> None:
        """Wake all long polls."""
        self._last_change = time.monotonic()
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
                await self._logs.poll()
                self.store_reachable = True
            except Exception as err:  # the stores raise errors of many types
                if self.store_reachable:
                    logger.warning("the store cannot be reached", error=str(err))
                self.store_reachable = False
            await asyncio.sleep(self.pause(time.monotonic() - self._last_change))

    def pause(self, quiet: float) -> float:
        """Seconds until the next poll, ``quiet`` seconds after the last change."""
        if not self.started:
            return min(self._interval, 0.2)
        return min(max(self._interval, quiet / 10), max(self._interval, self._idle_interval))

"""The background work of a gateway on batches: it takes those that nobody works on, as many at once as it may."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog
from prometheus_client import Gauge

from penstock_common.errors import PenstockError
from penstock_gateway.batches.batch_bounds import BatchBounds
from penstock_gateway.batches.batch_record import Batch, Status
from penstock_gateway.batches.batch_run import BatchRun
from penstock_gateway.batches.batches import Batches, LeaseLostError
from penstock_gateway.batches.line_calls import LineCalls
from penstock_gateway.batches.parts import Parts
from penstock_gateway.files.contents import Contents
from penstock_gateway.files.files import DAY, Files

RUNNING = Gauge("penstock_gateway_batches_running", "Batches that this gateway works on.")

#: Between two looks for batches that other gateways left or got; each opens a connection to the database.
_POLL_SECONDS = 5.0
#: For which a batch keeps its place while the gateway has as many as it may.
_TURN_SECONDS = 60.0
#: Until a batch is tried again whose work has failed.
_PAUSE_SECONDS = 10.0
_COLLECT_SECONDS = 300.0
_COLLECTED_AT_ONCE = 100
logger = structlog.get_logger()


class BatchRunner:
    """Works on batches.

    A key has one batch in progress at a time in each gateway. While a gateway has as many batches as it may, they take
    turns with those that wait.

    Args:
        ready: whether this gateway can answer requests, and is not about to end.
    """

    def __init__(
        self,
        batches: Batches,
        files: Files,
        contents: Contents,
        calls: LineCalls,
        bounds: BatchBounds,
        ready: Callable[[], bool],
    ) -> None:
        self._batches = batches
        self._files = files
        self._contents = contents
        self._calls = calls
        self._bounds = bounds
        self._ready = ready
        self._running: dict[asyncio.Task[None], Batch] = {}
        self._news = asyncio.Event()
        RUNNING.set_function(lambda: len(self._running))

    def look(self) -> None:
        """Look for batches now: there is a new one, or room for one."""
        self._news.set()

    async def run(self) -> None:
        """Take batches and work on them, until cancelled; the batches are then free for other gateways."""
        collecting = asyncio.create_task(self._collect_periodically())
        try:
            while True:
                self._news.clear()
                batch = await self._claim() if self._ready() and not self._is_full() else None
                if batch is not None:
                    task = asyncio.create_task(self._work(batch))
                    self._running[task] = batch
                    task.add_done_callback(self._ended)
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._news.wait()
        finally:
            tasks = [*self._running, collecting]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self) -> Batch | None:
        busy = {batch.principal for batch in self._running.values() if batch.status is Status.IN_PROGRESS}
        try:
            return await self._batches.claim(busy)
        except PenstockError:  # logged; it may be back at the next look
            return None

    async def _work(self, batch: Batch) -> None:
        """Work on a batch for a turn, then give up the lease."""
        ends = time.monotonic() + _TURN_SECONDS
        run = BatchRun(
            batch,
            self._batches,
            self._files,
            self._contents,
            self._calls,
            self._bounds,
            turn_is_over=lambda: self._is_full() and time.monotonic() > ends,
        )
        pause = 0.0
        try:
            await run.work()
        except LeaseLostError:
            logger.warning("another gateway works on the batch", batch=batch.id)
        except PenstockError:  # logged by what has failed
            pause = _PAUSE_SECONDS
        except Exception:
            logger.exception("a batch could not be worked on", batch=batch.id)
            pause = _PAUSE_SECONDS
        finally:
            with contextlib.suppress(PenstockError):  # then the lease runs out
                await self._batches.release(batch, pause)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.look()

    def _is_full(self) -> bool:
        return len(self._running) >= self._bounds.max_running_batches

    async def _collect_periodically(self) -> None:
        while True:
            with contextlib.suppress(PenstockError):  # logged; the next time is soon enough
                await self.collect()
            await asyncio.sleep(_COLLECT_SECONDS)

    async def collect(self) -> None:
        """Forget the batches that are too old, with what is left of their parts."""
        ids = await self._batches.older(self._bounds.files_days * DAY, _COLLECTED_AT_ONCE)
        for batch_id in ids:
            await Parts(self._contents, batch_id).delete()
            await self._batches.forget(batch_id)

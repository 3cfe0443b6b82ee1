"""A database that is used in threads, so that the event loop never waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from penstock_common.errors import PenstockError
from penstock_gateway.database.connect import open_database, reason

R = TypeVar("R")

_THREADS = 4
_LOCK_SECONDS = 5
#: For one use of the database, with the wait for a thread.
_SECONDS = 10.0
logger = structlog.get_logger()


class DatabaseThreads:
    """Each use of the database is in a thread and has a connection of its own.

    Args:
        url: as ``open_database`` takes it.
        kept: what is kept in the database, for the log.
        away: makes the refusal while the database cannot be used.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
    """

    def __init__(self, url: str, kept: str, away: Callable[[], PenstockError]) -> None:
        self.database = open_database(url, _LOCK_SECONDS)
        self._kept = kept
        self._refusal = away
        self._threads = ThreadPoolExecutor(_THREADS, kept.replace(" ", "-"))
        self._free = asyncio.Semaphore(_THREADS)
        self._away = False

    async def use(self, work: Callable[[Connection], R]) -> R:
        """What ``work`` returns.

        Raises:
            PenstockError: what ``away`` makes.
        """

        def connected() -> R:
            with self.database.engine.connect() as connection:
                return work(connection)

        try:
            async with asyncio.timeout(_SECONDS):
                await self._free.acquire()  # the pool's own queue would keep what has been given up
                done = await asyncio.wrap_future(self._submit(connected))
        except (OSError, SQLAlchemyError) as err:
            if not self._away:
                said = reason(err) or "no answer in time"
                logger.warning(f"{self._kept} cannot be used", database=self.database.name, error=said)
            self._away = True
            raise self._refusal() from None
        self._away = False
        return done

    def _submit(self, work: Callable[[], R]) -> Future[R]:
        """Start work in a thread, which is free again once the work has really ended."""
        loop = asyncio.get_running_loop()

        def release(_: Future[R]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._free.release)

        future = self._threads.submit(work)
        future.add_done_callback(release)
        return future

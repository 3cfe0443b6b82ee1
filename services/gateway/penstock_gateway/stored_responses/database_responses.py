"""The responses in the gateway's database; each use of it is in a thread and has a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from penstock_common.errors import PenstockError
from penstock_gateway.database.connect import open_database, reason
from penstock_gateway.stored_responses.response_store import Retention, StoredResponse, check_id, unknown_response
from penstock_gateway.stored_responses.response_table import (
    delete_older,
    delete_oldest,
    delete_response,
    insert_response,
    read_response,
)

R = TypeVar("R")

_THREADS = 4
_LOCK_SECONDS = 5
#: For one use of the database, with the wait for a thread.
_SECONDS = 10.0
_COLLECT_SECONDS = 300.0
_DAY = 86400.0
logger = structlog.get_logger()


class DatabaseResponses:
    """Responses in the database that has the keys, whose store migrates it.

    Args:
        url: as ``open_database`` takes it.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
    """

    keeps = True

    def __init__(self, url: str, retention: Retention, clock: Callable[[], float] = time.time) -> None:
        self._database = open_database(url, _LOCK_SECONDS)
        self._retention = retention
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, "stored-responses")
        self._free = asyncio.Semaphore(_THREADS)
        self._away = False

    def check_size(self, size: int) -> None:
        self._retention.check_size(size)

    async def write(self, principal: str, stored: StoredResponse) -> None:
        self.check_size(stored.size)

        def insert(connection: Connection) -> None:
            insert_response(connection, principal, self._clock(), stored)
            delete_oldest(connection, principal, self._retention.max_bytes_per_key)

        await self._use(insert)

    async def read(self, principal: str, response_id: str) -> StoredResponse:
        check_id(response_id)
        stored = await self._use(lambda connection: read_response(connection, principal, response_id, self._since()))
        if stored is None:
            raise unknown_response(response_id)
        return stored

    async def delete(self, principal: str, response_id: str) -> None:
        check_id(response_id)
        if not await self._use(lambda connection: delete_response(connection, principal, response_id)):
            raise unknown_response(response_id)

    async def collect(self) -> int:
        """Forget what is too old; how many there were.

        Raises:
            PenstockError: 503 ``response-store-away``.
        """
        return await self._use(lambda connection: delete_older(connection, self._since()))

    async def collect_periodically(self) -> None:
        while True:
            with contextlib.suppress(PenstockError):  # logged; the next time is soon enough
                await self.collect()
            await asyncio.sleep(_COLLECT_SECONDS)

    def _since(self) -> float:
        """When the oldest response was made that is still kept."""
        return self._clock() - self._retention.days * _DAY

    async def _use(self, work: Callable[[Connection], R]) -> R:
        def connected() -> R:
            with self._database.engine.connect() as connection:
                return work(connection)

        try:
            async with asyncio.timeout(_SECONDS):
                await self._free.acquire()  # the pool's own queue would keep what has been given up
                done = await asyncio.wrap_future(self._submit(connected))
        except (OSError, SQLAlchemyError) as err:
            if not self._away:
                said = reason(err) or "no answer in time"
                logger.warning("stored responses cannot be used", database=self._database.name, error=said)
            self._away = True
            raise _store_away() from None
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


def _store_away() -> PenstockError:
    text = "The database of the stored responses cannot be used at present; try again, or send store: false."
    return PenstockError(503, "response-store-away", text, headers={"Retry-After": "5"})

"""The responses in the gateway's database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from sqlalchemy import Connection

from penstock_common.errors import PenstockError
from penstock_gateway.database.threads import DatabaseThreads
from penstock_gateway.stored_responses.response_store import Retention, StoredResponse, check_id, unknown_response
from penstock_gateway.stored_responses.response_table import (
    delete_older,
    delete_oldest,
    delete_response,
    insert_response,
    read_response,
)

_COLLECT_SECONDS = 300.0
_DAY = 86400.0


class DatabaseResponses:
    """Responses in the database that has the keys, whose store migrates it.

    Args:
        url: as ``open_database`` takes it.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
    """

    keeps = True

    def __init__(self, url: str, retention: Retention, clock: Callable[[], float] = time.time) -> None:
        self._database = DatabaseThreads(url, "stored responses", _store_away)
        self._retention = retention
        self._clock = clock

    def check_size(self, size: int) -> None:
        self._retention.check_size(size)

    async def write(self, principal: str, stored: StoredResponse) -> None:
        self.check_size(stored.size)

        def insert(connection: Connection) -> None:
            insert_response(connection, principal, self._clock(), stored)
            delete_oldest(connection, principal, self._retention.max_bytes_per_key)

        await self._database.use(insert)

    async def read(self, principal: str, response_id: str) -> StoredResponse:
        check_id(response_id)
        stored = await self._database.use(
            lambda connection: read_response(connection, principal, response_id, self._since())
        )
        if stored is None:
            raise unknown_response(response_id)
        return stored

    async def delete(self, principal: str, response_id: str) -> None:
        check_id(response_id)
        if not await self._database.use(lambda connection: delete_response(connection, principal, response_id)):
            raise unknown_response(response_id)

    async def collect(self) -> int:
        """Forget what is too old; how many there were.

        Raises:
            PenstockError: 503 ``response-store-away``.
        """
        return await self._database.use(lambda connection: delete_older(connection, self._since()))

    async def collect_periodically(self) -> None:
        while True:
            with contextlib.suppress(PenstockError):  # logged; the next time is soon enough
                await self.collect()
            await asyncio.sleep(_COLLECT_SECONDS)

    def _since(self) -> float:
        """When the oldest response was made that is still kept."""
        return self._clock() - self._retention.days * _DAY


def _store_away() -> PenstockError:
    text = "The database of the stored responses cannot be used at present; try again, or send store: false."
    return PenstockError(503, "response-store-away", text, headers={"Retry-After": "5"})

"""The batches of the gateway's callers, and the lease with which gateways share the work on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from penstock_common.errors import PenstockError
from penstock_gateway.batches import batch_table
from penstock_gateway.batches.batch_bounds import BatchBounds
from penstock_gateway.batches.batch_record import (
    Batch,
    Order,
    Progress,
    Status,
    check_batch_id,
    new_batch_id,
    unknown_batch,
)
from penstock_gateway.database.threads import DatabaseThreads


class LeaseLostError(Exception):
    """Another gateway works on the batch."""


class Batches:
    """A batch that another key made is as unknown as one that never was.

    All methods raise ``PenstockError`` 503 ``file-store-away`` while the database cannot be used.

    Args:
        owner: the name of this gateway's process, unlike that of any other.
    """

    def __init__(
        self, database: DatabaseThreads, bounds: BatchBounds, owner: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._bounds = bounds
        self._owner = owner
        self._clock = clock

    @property
    def lease_seconds(self) -> float:
        return self._bounds.batch_lease_seconds

    async def create(self, principal: str, order: Order) -> Batch:
        """A new batch.

        Raises:
            PenstockError: 413 ``too-many-batches``.
        """
        batch = Batch(new_batch_id(), principal, self._clock(), Status.VALIDATING, None, order, Progress())
        count = await self._database.use(lambda connection: batch_table.count_batches(connection, principal))
        if count >= self._bounds.max_batches_per_key:
            limit = self._bounds.max_batches_per_key
            text = f"This key has {count} batches, and max_batches_per_key is {limit}; wait until the oldest are forgotten."
            extra = {"bound": "max_batches_per_key", "limit": limit}
            raise PenstockError(413, "too-many-batches", text, extra=extra)
        await self._database.use(lambda connection: batch_table.insert_batch(connection, batch))
        return batch

    async def show(self, principal: str, batch_id: str) -> Batch:
        """A batch as it is now.

        Raises:
            PenstockError: 404 ``unknown-batch``.
        """
        check_batch_id(batch_id)
        batch = await self._database.use(lambda connection: batch_table.read_batch(connection, principal, batch_id))
        if batch is None:
            raise unknown_batch(batch_id)
        return batch

    async def find(self, principal: str, after: str | None, limit: int) -> list[Batch]:
        """Up to ``limit`` batches of a key, the newest first, behind the one with the id ``after``.

        Raises:
            PenstockError: 404 ``unknown-batch`` for ``after``.
        """
        behind = None if after is None else await self.show(principal, after)
        return await self._database.use(
            lambda connection: batch_table.list_batches(connection, principal, behind, limit)
        )

    async def cancel(self, principal: str, batch_id: str) -> Batch:
        """Ask for the end of a batch; one whose end was asked for before is left as it is.

        Raises:
            PenstockError: 404 ``unknown-batch``; 409 ``batch-is-over``.
        """
        await self.show(principal, batch_id)
        await self._database.use(lambda connection: batch_table.cancel(connection, batch_id, self._clock()))
        batch = await self.show(principal, batch_id)
        if batch.status not in (Status.CANCELLING, Status.CANCELLED):
            text = f"Batch '{batch_id}' is {batch.status}; only one that is validating or in_progress can be cancelled."
            raise PenstockError(409, "batch-is-over", text)
        return batch

    async def claim(self, busy: Collection[str]) -> Batch | None:
        """Take the lease on a batch that nobody works on; see ``batch_table.claim``."""
        now = self._clock()
        until = now + self._bounds.batch_lease_seconds
        return await self._database.use(lambda connection: batch_table.claim(connection, self._owner, now, until, busy))

    async def renew(self, batch: Batch) -> Batch:
        """Keep the lease; the batch as it is now.

        Raises:
            LeaseLostError: another gateway has taken it.
        """
        return await self._lease(batch, self._clock() + self._bounds.batch_lease_seconds)

    async def release(self, batch: Batch, pause: float) -> None:
        """Give the lease up, so that any gateway may take it after ``pause`` seconds."""
        until = self._clock() + pause
        await self._database.use(lambda connection: batch_table.renew(connection, self._owner, batch.id, until))

    async def reload(self, batch: Batch) -> Batch:
        """A batch of this gateway as it is now.

        Raises:
            LeaseLostError: it is another gateway's.
        """
        return _mine(await self._database.use(lambda connection: batch_table.owned(connection, self._owner, batch.id)))

    async def write_progress(self, batch: Batch) -> bool:
        """Whether it was written; otherwise the batch is another gateway's."""
        return await self._database.use(lambda connection: batch_table.write_progress(connection, self._owner, batch))

    async def move(self, batch: Batch, status: Status) -> bool:
        """Write the progress and change the status; otherwise the status has changed already, or the owner has."""
        return await self._database.use(lambda connection: batch_table.move(connection, self._owner, batch, status))

    async def older(self, seconds: float, limit: int) -> list[str]:
        """The ids of some batches that are over and were made so many seconds ago."""
        than = self._clock() - seconds
        return list(await self._database.use(lambda connection: batch_table.older_batches(connection, than, limit)))

    async def forget(self, batch_id: str) -> None:
        await self._database.use(lambda connection: batch_table.delete_batch(connection, batch_id))

    async def _lease(self, batch: Batch, until: float) -> Batch:
        return _mine(
            await self._database.use(lambda connection: batch_table.renew(connection, self._owner, batch.id, until))
        )


def _mine(batch: Batch | None) -> Batch:
    if batch is None:
        raise LeaseLostError
    return batch

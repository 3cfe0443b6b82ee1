"""The batches' table, and the lease on a batch.

``owner`` is the gateway that works on a batch until ``lease_until``; then any gateway may take it. What a gateway writes
about a batch has its name as a condition, so that one that has lost the lease changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Double,
    Index,
    LargeBinary,
    Row,
    Table,
    Text,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from penstock_gateway.batches.batch_record import CANCELLABLE, OPEN, Batch, Order, Progress, Status
from penstock_gateway.database.connect import metadata

#: A ``Batch`` a row; ``request`` is its order and ``progress`` its progress, in JSON.
batches = Table(
    "penstock_batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("status", Text, nullable=False),
    Column("cancelling", Double),
    Column("owner", Text, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    Index("penstock_batches_principal", "principal", "created", "id"),
    Index("penstock_batches_lease", "status", "lease_until"),
)

_ORDER = msgspec.json.Decoder(Order)
_PROGRESS = msgspec.json.Decoder(Progress)
_CANDIDATES = 8


def insert_batch(connection: Connection, batch: Batch) -> None:
    connection.execute(
        insert(batches).values(
            id=batch.id,
            principal=batch.principal,
            created=batch.created,
            status=batch.status,
            cancelling=batch.cancelling,
            owner="",
            lease_until=batch.created,
            request=msgspec.json.encode(batch.order),
            progress=msgspec.json.encode(batch.progress),
        )
    )


def read_batch(connection: Connection, principal: str, batch_id: str) -> Batch | None:
    wanted = select(batches).where(batches.c.id == batch_id, batches.c.principal == principal)
    row = connection.execute(wanted).one_or_none()
    return None if row is None else _batch(row)


def list_batches(connection: Connection, principal: str, after: Batch | None, limit: int) -> list[Batch]:
    """Up to ``limit`` batches of a principal that are older than ``after``, the newest first."""
    created, id_ = batches.c.created, batches.c.id
    wanted = select(batches).where(batches.c.principal == principal)
    if after is not None:
        wanted = wanted.where(tuple_(created, id_) < (after.created, after.id))
    return [_batch(row) for row in connection.execute(wanted.order_by(created.desc(), id_.desc()).limit(limit))]


def count_batches(connection: Connection, principal: str) -> int:
    return connection.execute(select(func.count()).where(batches.c.principal == principal)).scalar_one()


def cancel(connection: Connection, batch_id: str, now: float) -> None:
    """Ask whoever works on a batch to end it, if it can still be cancelled."""
    stop = update(batches).where(batches.c.id == batch_id, batches.c.status.in_(CANCELLABLE))
    connection.execute(stop.values(status=Status.CANCELLING, cancelling=now))


def claim(connection: Connection, owner: str, now: float, until: float, busy: Collection[str]) -> Batch | None:
    """Take the lease on a batch that nobody works on: on one to be validated if there is one, or the longest ignored.

    Args:
        busy: principals of which no batch is taken that is in progress.
    """
    free = and_(batches.c.status.in_(OPEN), batches.c.lease_until <= now)
    if busy:
        free = and_(free, or_(batches.c.status != Status.IN_PROGRESS, batches.c.principal.not_in(busy)))
    short_first = case((batches.c.status == Status.IN_PROGRESS, 1), else_=0)
    candidates = select(batches.c.id).where(free).order_by(short_first, batches.c.lease_until).limit(_CANDIDATES)
    for batch_id in connection.execute(candidates).scalars().all():
        take = update(batches).where(batches.c.id == batch_id, free).values(owner=owner, lease_until=until)
        if connection.execute(take).rowcount:
            return owned(connection, owner, batch_id)
    return None


def owned(connection: Connection, owner: str, batch_id: str) -> Batch | None:
    """A batch as it is now; None if another gateway has taken it."""
    row = connection.execute(select(batches).where(_is_owned(owner, batch_id))).one_or_none()
    return None if row is None else _batch(row)


def renew(connection: Connection, owner: str, batch_id: str, until: float) -> Batch | None:
    """Extend the lease, also to a time in the past to give it up; None if another gateway has it."""
    connection.execute(update(batches).where(_is_owned(owner, batch_id)).values(lease_until=until))
    return owned(connection, owner, batch_id)


def write_progress(connection: Connection, owner: str, batch: Batch) -> bool:
    """Whether it was written: the batch has the same owner still."""
    mine = update(batches).where(_is_owned(owner, batch.id))
    return connection.execute(mine.values(progress=msgspec.json.encode(batch.progress))).rowcount > 0


def move(connection: Connection, owner: str, batch: Batch, status: Status) -> bool:
    """Write the progress and change the status; whether both were done."""
    mine = update(batches).where(_is_owned(owner, batch.id), batches.c.status == batch.status)
    values = {"progress": msgspec.json.encode(batch.progress), "status": status}
    return connection.execute(mine.values(**values)).rowcount > 0


def older_batches(connection: Connection, than: float, limit: int) -> Sequence[str]:
    """The ids of some batches that are over and were made before a time."""
    wanted = select(batches.c.id).where(batches.c.created < than, batches.c.status.not_in(OPEN))
    return connection.execute(wanted.limit(limit)).scalars().all()


def delete_batch(connection: Connection, batch_id: str) -> None:
    connection.execute(delete(batches).where(batches.c.id == batch_id))


def _is_owned(owner: str, batch_id: str) -> Any:
    return and_(batches.c.id == batch_id, batches.c.owner == owner)


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        id=row.id,
        principal=row.principal,
        created=row.created,
        status=Status(row.status),
        cancelling=row.cancelling,
        order=_ORDER.decode(row.request),
        progress=_PROGRESS.decode(row.progress),
    )

"""The files' table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Row,
    Select,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from penstock_gateway.database.connect import metadata
from penstock_gateway.files.file_record import FileRecord

#: A ``FileRecord`` a row; ``size`` is null while the contents are on their way, and nobody sees the file.
files = Table(
    "penstock_files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("size", BigInteger),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Index("penstock_files_expires", "expires"),
    Index("penstock_files_principal", "principal", "created", "id"),
)


def insert_unfinished(connection: Connection, file_id: str, principal: str, created: float, expires: float) -> None:
    values = {"id": file_id, "principal": principal, "created": created, "expires": expires}
    connection.execute(insert(files).values(**values, filename="", purpose=""))


def finish(connection: Connection, record: FileRecord) -> None:
    """Make an unfinished file one that its key sees."""
    values = {name: getattr(record, name) for name in ("created", "expires", "size", "filename", "purpose")}
    connection.execute(update(files).where(files.c.id == record.id).values(**values))


def insert_whole(connection: Connection, record: FileRecord) -> None:
    """Insert a file whose contents are written; one that is there already is left as it is."""
    with suppress(IntegrityError):
        connection.execute(insert(files).values(**_columns(record)))


def read_file(connection: Connection, principal: str, file_id: str, now: float) -> FileRecord | None:
    row = connection.execute(_seen_by(principal, now).where(files.c.id == file_id)).one_or_none()
    return None if row is None else _record(row)


def list_files(
    connection: Connection,
    principal: str,
    now: float,
    *,
    purpose: str | None,
    after: FileRecord | None,
    newest_first: bool,
    limit: int,
) -> list[FileRecord]:
    """Up to ``limit`` files of a principal that come behind ``after``."""
    wanted = _seen_by(principal, now)
    if purpose is not None:
        wanted = wanted.where(files.c.purpose == purpose)
    created, id_ = files.c.created, files.c.id
    if after is not None:
        place, behind = tuple_(created, id_), (after.created, after.id)
        wanted = wanted.where(place < behind if newest_first else place > behind)
    order = (created.desc(), id_.desc()) if newest_first else (created, id_)
    return [_record(row) for row in connection.execute(wanted.order_by(*order).limit(limit))]


def count_files(connection: Connection, principal: str) -> tuple[int, int]:
    """How many files a principal has, with those on their way, and the bytes of all that are whole."""
    counted = select(func.count(), func.coalesce(func.sum(files.c.size), 0)).where(files.c.principal == principal)
    count, size = connection.execute(counted).one()
    return count, int(size)


def delete_file(connection: Connection, file_id: str) -> None:
    connection.execute(delete(files).where(files.c.id == file_id))


def expired_files(connection: Connection, now: float, limit: int) -> Sequence[str]:
    """The ids of some files whose time is over."""
    return connection.execute(select(files.c.id).where(files.c.expires <= now).limit(limit)).scalars().all()


def _seen_by(principal: str, now: float) -> Select[Any]:
    return select(files).where(files.c.principal == principal, files.c.expires > now, files.c.size.is_not(None))


def _columns(record: FileRecord) -> dict[str, object]:
    return {column.name: getattr(record, column.name) for column in files.columns}


def _record(row: Row[Any]) -> FileRecord:
    return FileRecord(**row._mapping)

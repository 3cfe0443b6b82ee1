"""The keys' table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Double,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import ProgrammingError

from penstock_gateway.auth.key_record import KeyRecord
from penstock_gateway.database.connect import metadata

#: A ``KeyRecord`` a row; ``models`` is a list in JSON.
keys = Table(
    "penstock_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("rate", Double),
    Column("burst", Double),
    Column("created", Text, nullable=False),
    Column("revoked", Text),
    Column("models", Text),
    Column("expires", Text),
    Column("last_used", Text),
)

#: All columns that there are: a gateway that may not migrate reads a database without the newer ones.
_ALL_KEYS: Select[Any] = select(literal_column("*")).select_from(keys).order_by(keys.c.created, keys.c.id)
_FIELDS = [field.name for field in fields(KeyRecord)]
_USED = update(keys).where(
    keys.c.id == bindparam("key_id"),
    or_(keys.c.last_used.is_(None), keys.c.last_used < bindparam("used")),
)
_UNDEFINED_TABLE = "42P01"  # PostgreSQL's SQLSTATE


def read_keys(connection: Connection) -> list[KeyRecord]:
    """All keys, the oldest first. A PostgreSQL database without the table has none: the first key creates it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the table cannot be read.
        ValueError: a row is not a key's record.
    """
    try:
        return [_record(row._asdict()) for row in connection.execute(_ALL_KEYS)]
    except ProgrammingError as err:
        if getattr(err.orig, "sqlstate", None) == _UNDEFINED_TABLE:
            return []
        raise


def insert_key(connection: Connection, record: KeyRecord) -> None:
    models = None if record.models is None else msgspec.json.encode(record.models).decode()
    connection.execute(insert(keys).values(asdict(record) | {"models": models}))


def write_last_uses(connection: Connection, uses: Mapping[str, str]) -> None:
    """Note when keys were last used, in one transaction; a later time that is there already remains.

    Args:
        connection: in autocommit mode; if this fails, it has to be closed, which undoes what was written.
        uses: the times by the keys' ids.
    """
    # In one order, so that two gateways that write the same keys do not wait for each other in a circle.
    rows = [{"key_id": key_id, "used": used, "last_used": used} for key_id, used in sorted(uses.items())]
    connection.exec_driver_sql("BEGIN")
    connection.execute(_USED, rows)
    connection.exec_driver_sql("COMMIT")


def _record(row: Mapping[str, Any]) -> KeyRecord:
    found = {name: row[name] for name in _FIELDS if name in row}
    if found.get("models") is not None:
        found["models"] = msgspec.json.decode(found["models"], type=list[str])
    return KeyRecord(**found)

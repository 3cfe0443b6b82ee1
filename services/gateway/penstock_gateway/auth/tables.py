"""The tables of the gateway's database, for SQLAlchemy.

They are Core tables, not mapped classes: rows become plain records, and importing the ORM would double what SQLAlchemy
adds to a gateway's start. A change here needs a migration; ``migrate`` has the rules.
"""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import Column, Connection, Double, LargeBinary, MetaData, Table, Text, select
from sqlalchemy.exc import ProgrammingError

from penstock_gateway.auth.key_record import KeyRecord

metadata = MetaData()

#: A ``KeyRecord`` a row.
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
)

_ALL_KEYS = select(*(keys.c[field.name] for field in fields(KeyRecord))).order_by(keys.c.created, keys.c.id)
_UNDEFINED_TABLE = "42P01"  # PostgreSQL's SQLSTATE


def read_keys(connection: Connection) -> list[KeyRecord]:
    """All keys, the oldest first. A PostgreSQL database without the table has none: the first key creates it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the table cannot be read.
    """
    try:
        return [KeyRecord(*row) for row in connection.execute(_ALL_KEYS)]
    except ProgrammingError as err:
        if getattr(err.orig, "sqlstate", None) == _UNDEFINED_TABLE:
            return []
        raise

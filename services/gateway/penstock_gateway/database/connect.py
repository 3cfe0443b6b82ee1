"""The gateway's database: SQLite or PostgreSQL, by one URL."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from penstock_common.errors import PenstockError

#: Of all tables. They are Core tables, not mapped classes: rows become plain records, and importing the ORM would double
#: what SQLAlchemy adds to a gateway's start. A change of a table needs a migration; ``migrate`` has the rules.
metadata = MetaData()

#: PostgreSQL's SQLSTATEs: insufficient_privilege, and read_only_sql_transaction (a standby).
_NO_RIGHT_TO_WRITE = {"42501", "25006"}


@dataclass(frozen=True)
class Database:
    """Makes connections, all in autocommit mode and none of them pooled."""

    engine: Engine
    name: str  # for messages: the file's path, or PostgreSQL
    file: Path | None  # SQLite's


def open_database(url: str, lock_seconds: float) -> Database:
    """The database that a URL names; nothing is connected yet.

    Args:
        url: a file's path or ``sqlite:///path`` (SQLite), or ``postgresql://...`` or ``postgres://...`` as libpq
            reads it.
        lock_seconds: how long a statement waits for another process's lock on a SQLite file.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgresql", "postgres"):
        return Database(_postgres(f"postgresql://{rest}"), "PostgreSQL", None)
    if separator and not (scheme == "sqlite" and len(rest) > 1 and rest[0] == "/"):
        raise PenstockError(
            422,
            "bad-keys-url",
            f"{scheme}:// does not name a key store; use a file's path, sqlite:///path or postgresql://...",
        )
    path = Path(rest[1:] if separator else url)
    return Database(_sqlite(path, lock_seconds), str(path), path)


def reason(err: Exception) -> str:
    """What the database said, without SQLAlchemy's additions (the statement, its parameters, a link)."""
    return str(err.orig if isinstance(err, DBAPIError) else err)


def may_not_write(err: SQLAlchemyError) -> bool:
    """True if the database can be read but this user, or this copy of it, may not change it."""
    cause = err.orig if isinstance(err, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY
    return getattr(cause, "sqlstate", None) in _NO_RIGHT_TO_WRITE


def _sqlite(path: Path, lock_seconds: float) -> Engine:
    def connect() -> sqlite3.Connection:
        # mode=rw: a file that is not there is an error, not a new database.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=lock_seconds, check_same_thread=False)

    return create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def _postgres(url: str) -> Engine:
    def connect() -> Any:
        import psycopg  # not needed for SQLite

        # libpq reads the URL itself: it takes more forms than SQLAlchemy's parser, several hosts among them.
        return psycopg.connect(
            url,
            connect_timeout=2,
            # A server that has vanished is noticed within seconds, not after TCP's quarter of an hour.
            tcp_user_timeout=3000,
            # A database in SQL_ASCII would otherwise give texts as bytes.
            client_encoding="UTF8",
        )

    return create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")

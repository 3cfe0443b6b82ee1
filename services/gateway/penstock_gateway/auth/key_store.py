"""The administration of API keys in SQLite (a file) or PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg

from penstock_common.errors import PenstockError
from penstock_common.keys import KeyRecord, new_key, timestamp

SELECT = "SELECT id, name, hash, rate, burst, created, revoked FROM penstock_keys ORDER BY created, id"
_COLUMNS = """
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash {blob} NOT NULL,
    rate DOUBLE PRECISION,
    burst DOUBLE PRECISION,
    created TEXT NOT NULL,
    revoked TEXT
"""


class Database(Protocol):
    """Runs one statement with ``?`` for its parameters."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Its rows, and how many it changed."""


class KeyStore:
    """Creates, lists and revokes keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, rate: float | None = None, burst: float | None = None) -> tuple[KeyRecord, str]:
        """A new key: its record, and the key itself, which nobody can tell again."""
        record, key = new_key(name, rate, burst)
        self._database.execute(
            "INSERT INTO penstock_keys VALUES (?, ?, ?, ?, ?, ?, ?)",
            (record.id, name, record.hash, rate, burst, record.created, None),
        )
        return record, key

    def records(self) -> list[KeyRecord]:
        return [KeyRecord(*row) for row in self._database.execute(SELECT)[0]]

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; doing it twice changes nothing.

        Raises:
            PenstockError: 404 ``unknown-key``.
        """
        _, changed = self._database.execute(
            "UPDATE penstock_keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (timestamp(), key_id)
        )
        if not changed:
            raise PenstockError(404, "unknown-key", f"There is no key with id '{key_id}'; list them to see the ids.")


def open_store(url: str) -> KeyStore:
    """The store of a ``postgresql://`` URL or of a SQLite file, made where missing."""
    return KeyStore(PostgresDatabase(url) if is_postgres(url) else SqliteDatabase(Path(url)))


def is_postgres(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


class SqliteDatabase:
    """A file for its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self.execute("PRAGMA journal_mode=WAL")
        self.execute(f"CREATE TABLE IF NOT EXISTS penstock_keys ({_COLUMNS.format(blob='BLOB')})")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        with self._open() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall(), cursor.rowcount

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


def connect_postgres(url: str) -> psycopg.Connection:
    """A connection in autocommit mode.

    Raises:
        psycopg.Error: where there is none within seconds.
    """
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=2,
        # A server that vanished without a word is noticed within seconds, not after TCP's quarter of an hour.
        tcp_user_timeout=3000,
        # From a database in SQL_ASCII, texts would otherwise come as bytes.
        client_encoding="UTF8",
    )


class PostgresDatabase:
    def __init__(self, url: str) -> None:
        self._url = url
        self.execute(f"CREATE TABLE IF NOT EXISTS penstock_keys ({_COLUMNS.format(blob='BYTEA')})")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> tuple[list[tuple[Any, ...]], int]:
        try:
            with connect_postgres(self._url) as connection:
                cursor = connection.execute(statement.replace("?", "%s").encode(), parameters)
                return (cursor.fetchall() if cursor.description else []), cursor.rowcount
        except psycopg.Error as err:
            raise PenstockError(503, "key-store-away", f"PostgreSQL: {err}") from None

"""Where a gateway reads the API keys from: SQLite, a mounted Secret, or PostgreSQL.

All are read by a thread, never on the request path.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

import psycopg

from penstock_common.keys import KeyRecord, load_record
from penstock_gateway.auth.key_store import SELECT, connect_postgres, is_postgres


class KeySourceError(Exception):
    """The keys cannot be read just now."""


class KeySource(Protocol):
    def read(self) -> list[KeyRecord] | None:
        """All keys; None where nothing has changed since the last call.

        Raises:
            KeySourceError: the last keys stay in force.
        """

    def close(self) -> None: ...


def open_keys(url: str) -> KeySource:
    """The source that a URL or path names."""
    if is_postgres(url):
        return PostgresKeys(url)
    path = Path(url)
    return FolderKeys(path) if path.is_dir() else SqliteKeys(path)


class SqliteKeys:
    """The embedded default; see ``key_store``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] = (0, 0)  # the file's inode and its data_version

    def read(self) -> list[KeyRecord] | None:
        try:
            return self._read()
        except (OSError, sqlite3.Error) as err:
            self.close()
            raise KeySourceError(f"{self._path}: {err}") from err

    def _read(self) -> list[KeyRecord] | None:
        inode = self._path.stat().st_ino
        if self._connection is None or inode != self._seen[0]:
            self.close()
            # mode=rw: never create a store that is not there.
            uri = f"{self._path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(uri, uri=True, timeout=1, check_same_thread=False)
        # Before the rows: a change in between is then read again, not missed.
        (data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if (inode, data_version) == self._seen:
            return None
        records = [KeyRecord(*row) for row in self._connection.execute(SELECT)]
        self._seen = (inode, data_version)
        return records

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._seen = (0, 0)  # data_version only compares within one connection


class FolderKeys:
    """A mounted Secret: each ``*.json`` is one key's record, its hash in hexadecimal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, bytes] | None = None

    def read(self) -> list[KeyRecord] | None:
        try:
            files = {path.name: path.read_bytes() for path in sorted(self._folder.glob("*.json"))}
            if files == self._seen:
                return None
            records = [load_record(data) for data in files.values()]
        except (OSError, ValueError) as err:
            raise KeySourceError(f"{self._folder}: {err}") from err
        self._seen = files
        return records

    def close(self) -> None:
        self._seen = None


class PostgresKeys:
    """The table ``penstock_keys``; read whole, as thousands of keys are small."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def read(self) -> list[KeyRecord] | None:
        try:
            if self._connection is None:
                self._connection = connect_postgres(self._url)
            return [KeyRecord(*row) for row in self._connection.execute(SELECT)]
        except psycopg.errors.UndefinedTable:
            return []  # the first key makes the table
        except psycopg.Error as err:
            self.close()
            raise KeySourceError(f"PostgreSQL: {err}") from err

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

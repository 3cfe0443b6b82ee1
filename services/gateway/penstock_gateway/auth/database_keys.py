"""A gateway's view of the keys in its database."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from penstock_gateway.auth.key_record import KeyRecord
from penstock_gateway.auth.key_sources import KeySourceError
from penstock_gateway.auth.key_table import read_keys, write_last_uses
from penstock_gateway.database.connect import may_not_write, open_database, reason
from penstock_gateway.database.migrate import migrate

_LOCK_SECONDS = 1
logger = structlog.get_logger()


class DatabaseKeys:
    """All keys of a database: read whole, as thousands of keys are small, and from SQLite only after a change."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url, _LOCK_SECONDS)
        self._connection: Connection | None = None
        self._inode = 0
        self._data_version = 0

    def read(self) -> list[KeyRecord] | None:
        try:
            return self._read()
        except (OSError, ValueError, SQLAlchemyError) as err:
            self._close()
            raise KeySourceError(f"{self._database.name}: {reason(err)}") from err

    def write_last_uses(self, uses: Mapping[str, str]) -> None:
        try:
            write_last_uses(self._connected(), uses)
        except (OSError, SQLAlchemyError) as err:
            self._close()
            raise KeySourceError(f"{self._database.name}: {reason(err)}") from err

    def _read(self) -> list[KeyRecord] | None:
        connection = self._connected()
        if self._database.file is None:
            return read_keys(connection)
        # Before the rows: a change made in between is then read again, not missed.
        data_version = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        if data_version == self._data_version:
            return None
        records = read_keys(connection)
        self._data_version = data_version
        return records

    def _connected(self) -> Connection:
        file = self._database.file
        inode = file.stat().st_ino if file else 0
        if self._connection is None or inode != self._inode:
            self._close()
            self._connection = self._database.engine.connect()
            self._inode = inode
            self._migrate(self._connection)
        return self._connection

    def _migrate(self, connection: Connection) -> None:
        try:
            migrate(connection)
        except SQLAlchemyError as err:
            if not may_not_write(err):
                raise
            # The tables may well have all that this version reads; if they do not, reading says so.
            logger.warning("the key database is left as it is: no right to migrate it", error=reason(err))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._data_version = 0  # SQLite's counts from 1 and compares only within one connection

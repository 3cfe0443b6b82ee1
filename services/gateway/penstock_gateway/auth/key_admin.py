"""The administration of API keys in a database. Keys in a cluster's Secret are the command line's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from penstock_common.errors import PenstockError
from penstock_gateway.auth.key_record import KeyRecord, new_key, timestamp, unknown_key
from penstock_gateway.auth.key_table import insert_key, keys, read_keys
from penstock_gateway.database.connect import open_database, reason
from penstock_gateway.database.migrate import migrate

_LOCK_SECONDS = 10
_LOCK_INTERVAL = 0.05


class KeyAdmin:
    """Creates, lists and revokes the keys of one database.

    Args:
        url: as ``open_database`` takes it.

    Raises:
        PenstockError: 422 ``bad-keys-url`` or ``keys-in-a-folder``; of all methods, 503 ``key-store-away``.
    """

    keeps_last_use = True

    def __init__(self, url: str) -> None:
        if Path(url).is_dir():
            text = (
                f"{url} is a folder with the keys of a mounted Secret; change them with penstock keys ... --kubernetes."
            )
            raise PenstockError(422, "keys-in-a-folder", text)
        self._database = open_database(url, _LOCK_SECONDS)

    def create(
        self,
        name: str,
        rate: float | None = None,
        burst: float | None = None,
        models: Sequence[str] | None = None,
        expires: datetime | None = None,
    ) -> tuple[KeyRecord, str]:
        """A new key: its record, and the key itself, which cannot be recovered later. Creates the store if need be.

        Raises:
            PenstockError: 422 of ``new_key``.
        """
        record, key = new_key(name, rate, burst, models, expires)
        with self._errors_named():
            if self._database.file is not None:
                _create_file(self._database.file)
            with self._database.engine.connect() as connection:
                if self._database.file is not None:
                    _write_ahead(connection)
                migrate(connection)
                insert_key(connection, record)
        return record, key

    def records(self) -> list[KeyRecord]:
        """All keys, the oldest first.

        Raises:
            PenstockError: 404 ``no-key-store``.
        """
        with self._existing_store() as connection:
            return read_keys(connection)

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; doing it twice changes nothing.

        Raises:
            PenstockError: 404 ``no-key-store`` or ``unknown-key``.
        """
        first_revoked = func.coalesce(keys.c.revoked, timestamp())
        revoke = update(keys).where(keys.c.id == key_id).values(revoked=first_revoked)
        with self._existing_store() as connection:
            migrate(connection)
            if not connection.execute(revoke).rowcount:
                raise unknown_key(key_id)

    @contextmanager
    def _existing_store(self) -> Iterator[Connection]:
        file = self._database.file
        if file is not None and not file.exists():  # perhaps a mistyped path
            raise PenstockError(404, "no-key-store", f"There is no file {file}; the first key creates it.")
        with self._errors_named(), self._database.engine.connect() as connection:
            yield connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, SQLAlchemyError) as err:
            raise PenstockError(503, "key-store-away", f"{self._database.name}: {reason(err)}") from None


def _write_ahead(connection: Connection) -> None:
    """Switch a SQLite file to its write-ahead log, so that readers and writers do not block each other.

    SQLite refuses the switch at once while another process uses the file, whatever the connection's timeout.
    """
    give_up = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(_LOCK_INTERVAL)
        else:
            return


def _create_file(path: Path) -> None:
    """An empty file that only its owner can read, unless there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

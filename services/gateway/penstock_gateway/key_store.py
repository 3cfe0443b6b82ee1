"""API keys at rest: a SQLite file that holds hashes, never keys.

A key's secret has 256 random bits, so it cannot be guessed and a plain SHA-256
is as strong as a slow password hash, at a cost the request path can bear.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from penstock_common.errors import PenstockError

PREFIX = "psk_"
ID_LENGTH = 12

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,
    rate REAL,
    burst REAL,
    created TEXT NOT NULL,
    revoked TEXT
)
"""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    id: str
    name: str
    hash: bytes
    rate: float | None
    burst: float | None
    created: str
    revoked: str | None


def key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def read_keys(connection: sqlite3.Connection) -> list[KeyRecord]:
    rows = connection.execute("SELECT id, name, hash, rate, burst, created, revoked FROM keys ORDER BY created, id")
    return [KeyRecord(*row) for row in rows]


class KeyStore:
    """Creates, lists and revokes keys in the file at ``path``, which it makes for its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)

    def create(self, name: str, rate: float | None = None, burst: float | None = None) -> tuple[KeyRecord, str]:
        """A new key: its record, and the key itself, which nobody can tell again."""
        if (rate is not None and not 0 < rate < float("inf")) or (burst is not None and not 1 <= burst < float("inf")):
            raise PenstockError(422, "bad-limit", f"rate {rate} must be above 0 and burst {burst} at least 1.")
        key_id = secrets.token_hex(ID_LENGTH // 2)
        key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
        record = KeyRecord(key_id, name, key_hash(key), rate, burst, _now(), None)
        with self._open() as connection:
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)",
                (record.id, name, record.hash, rate, burst, record.created, None),
            )
        return record, key

    def records(self) -> list[KeyRecord]:
        with self._open() as connection:
            return read_keys(connection)

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; doing it twice changes nothing.

        Raises:
            PenstockError: 404 ``unknown-key``.
        """
        with self._open() as connection:
            changed = connection.execute(
                "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (_now(), key_id)
            ).rowcount
        if not changed:
            raise PenstockError(404, "unknown-key", f"There is no key with id '{key_id}'; list them to see the ids.")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

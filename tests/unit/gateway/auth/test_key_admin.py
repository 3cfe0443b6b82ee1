"""Keys are created, listed and revoked in a database, and kept only as hashes."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.auth.key_record import ID_LENGTH, PREFIX
from tests.postgres import PostgresServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys.db"


def test_created_listed_revoked(database_url: str) -> None:
    """What is created is listed, oldest first; a revoked key keeps the time of its first revocation."""
    admin = KeyAdmin(database_url)
    record, _ = admin.create("shop", 2.5, 20)
    assert admin.records() == [record]
    admin.revoke(record.id)
    (revoked,) = admin.records()
    assert revoked.revoked is not None
    admin.revoke(record.id)
    assert admin.records() == [revoked]
    with pytest.raises(PenstockError, match="no key with id 'nope'") as unknown:
        admin.revoke("nope")
    assert unknown.value.code == "unknown-key"


def test_the_store_holds_no_key(path: Path) -> None:
    """The file is for its owner alone and does not contain the key."""
    _, key = KeyAdmin(str(path)).create("shop")
    assert path.stat().st_mode & 0o777 == 0o600
    secret = key[len(PREFIX) + ID_LENGTH + 1 :].encode()
    assert len(secret) > 40
    assert secret not in b"".join(p.read_bytes() for p in path.parent.iterdir())


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1), (float("inf"), 1)])
def test_a_key_has_usable_limits(path: Path, rate: float, burst: float) -> None:
    """A limit that could never allow anything is refused, and no store is created for it."""
    with pytest.raises(PenstockError) as refused:
        KeyAdmin(str(path)).create("shop", rate, burst)
    assert refused.value.code == "bad-limit"
    assert not path.exists()


@pytest.mark.parametrize(
    ("models", "expires", "code"),
    [
        ([], None, "bad-models"),
        (["!price"], None, "bad-models"),
        (["price", " "], None, "bad-models"),
        (None, datetime(2026, 1, 1, tzinfo=UTC), "bad-expiry"),
    ],
)
def test_a_key_can_be_used(path: Path, models: list[str] | None, expires: datetime | None, code: str) -> None:
    """A key that may ask no model, or that has expired already, is refused, and no store is created for it."""
    with pytest.raises(PenstockError) as refused:
        KeyAdmin(str(path)).create("shop", models=models, expires=expires)
    assert refused.value.code == code
    assert not path.exists()


def test_sqlite_is_in_wal_mode(path: Path) -> None:
    """Readers and writers of the store do not block each other."""
    KeyAdmin(str(path)).create("shop")
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_a_new_key_creates_a_store(path: Path) -> None:
    """Listing or revoking at a mistyped path names it and leaves it as it is."""
    admin = KeyAdmin(str(path))
    for call in (admin.records, lambda: admin.revoke("x")):
        with pytest.raises(PenstockError, match=str(path)) as caught:
            call()
        assert caught.value.code == "no-key-store"
    assert not path.parent.exists()


def test_an_empty_postgresql_has_no_keys(postgres: PostgresServer) -> None:
    """Listing does not need the table, nor the right to create it."""
    assert KeyAdmin(postgres.new_database()).records() == []


def test_a_mounted_secret_is_changed_in_the_cluster(tmp_path: Path) -> None:
    """A folder of records cannot be written from a pod; the error names the command that can."""
    with pytest.raises(PenstockError, match="--kubernetes") as caught:
        KeyAdmin(str(tmp_path))
    assert caught.value.code == "keys-in-a-folder"


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error has the path and the system's reason."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "keys.db"
    with pytest.raises(PenstockError, match=str(path)) as caught:
        KeyAdmin(str(path)).create("shop")
    assert caught.value.code == "key-store-away"

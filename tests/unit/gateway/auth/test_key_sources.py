"""Keys in a mounted Secret and in a database: both are followed, and an outage changes nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from penstock_common.errors import PenstockError
from penstock_gateway.auth import database_keys
from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.auth.key_record import dump_record, load_record, new_key
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import KeySourceError, open_keys
from penstock_gateway.auth.principal import Principal
from penstock_gateway.database.connect import open_database
from tests.postgres import PostgresServer


def caller(ring: KeyRing, key: str) -> Principal:
    return ring.authenticate([(b"api-key", key.encode())])


def refusal(ring: KeyRing, key: str) -> str:
    with pytest.raises(PenstockError) as caught:
        caller(ring, key)
    return caught.value.code


def test_a_mounted_secret_is_followed(tmp_path: Path) -> None:
    """A record that appears is known, one that is gone is not, and a broken one leaves the last keys in force."""
    record, key = new_key("shop", rate=5)
    (tmp_path / "shop.json").write_bytes(dump_record(record))
    ring = KeyRing(open_keys(str(tmp_path)))
    ring.load()
    assert caller(ring, key).limits.rate == 5
    other, second = new_key("other")
    (tmp_path / "other.json").write_bytes(dump_record(other))
    (tmp_path / "shop.json").unlink()
    ring.load()
    assert caller(ring, second).name == "other"
    assert refusal(ring, key) == "bad-key"
    (tmp_path / "broken.json").write_text('{"id": 1}')
    ring.load()
    assert caller(ring, second).name == "other"


def test_the_form_of_a_record_in_a_secret() -> None:
    """It has exactly these members in this order, the hash in hexadecimal; what is written is what is read."""
    record, _ = new_key("shop", rate=5, models=["a*"], expires=datetime(2999, 1, 1, tzinfo=UTC))
    written = (
        f'{{"id":"{record.id}","name":"shop","rate":5,"burst":null,"created":"{record.created}","revoked":null,'
        f'"models":["a*"],"expires":"2999-01-01T00:00:00Z","hash":"{record.hash.hex()}"}}'
    )
    assert dump_record(record).decode() == written
    assert load_record(written.encode()) == record


def test_a_record_of_the_version_before() -> None:
    """Secrets that exist have no models and no expiry: such a key may ask every model and does not expire."""
    record, _ = new_key("shop", rate=5)
    before = (
        f'{{"id":"{record.id}","name":"shop","rate":5,"burst":null,"created":"{record.created}","revoked":null,'
        f'"hash":"{record.hash.hex()}"}}'
    )
    assert load_record(before.encode()) == record


@pytest.mark.parametrize("expires", ["soon", "2999-01-01", "2999-01-01T00:00:00", ""])
def test_a_record_with_a_wrong_expiry_is_not_read(expires: str, tmp_path: Path) -> None:
    """A key whose end cannot be read must not become one without an end, in a Secret or in a database."""
    record, _ = new_key("shop", expires=datetime(2999, 1, 1, tzinfo=UTC))
    folder = tmp_path / "secret"
    folder.mkdir()
    wrong = dump_record(record).replace(b"2999-01-01T00:00:00Z", expires.encode())
    (folder / "shop.json").write_bytes(wrong)
    path = tmp_path / "keys.db"
    KeyAdmin(str(path)).create("shop")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE penstock_keys SET expires = ?", (expires,))
    for source in (folder, path):
        with pytest.raises(KeySourceError, match=str(source)):
            open_keys(str(source)).read()


def test_the_last_use_is_written(database_url: str) -> None:
    """A later use replaces an earlier one, whichever gateway saw it; others stay as they are."""
    admin = KeyAdmin(database_url)
    used, unused = admin.create("used")[0], admin.create("unused")[0]
    first, second = open_keys(database_url), open_keys(database_url)
    first.write_last_uses({used.id: "2026-01-01T00:00:02Z", "gone": "2026-01-01T00:00:02Z"})
    second.write_last_uses({used.id: "2026-01-01T00:00:01Z"})
    assert {r.id: r.last_used for r in admin.records()} == {used.id: "2026-01-01T00:00:02Z", unused.id: None}
    second.write_last_uses({used.id: "2026-01-01T00:00:03Z"})
    assert {r.id: r.last_used for r in admin.records()} == {used.id: "2026-01-01T00:00:03Z", unused.id: None}


def test_a_write_that_fails_leaves_nothing_locked(tmp_path: Path) -> None:
    """A gateway that may not write says so, and keys can be read and created afterwards."""
    path = str(tmp_path / "keys.db")
    admin = KeyAdmin(path)
    record, _ = admin.create("shop")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON penstock_keys BEGIN SELECT raise(ABORT, 'not allowed'); END"
        )
    source = open_keys(path)
    with pytest.raises(KeySourceError, match="not allowed"):
        source.write_last_uses({record.id: "2026-01-01T00:00:00Z"})
    admin.create("other")
    assert len(source.read() or []) == 2


def test_keys_in_postgresql(postgres: PostgresServer) -> None:
    """Created, listed and revoked there; with the server away known keys keep working, and it is found again."""
    url = postgres.new_database()
    early = KeyRing(open_keys(url))
    early.load()
    assert early.loaded  # an empty database holds no keys; it is not an outage
    admin = KeyAdmin(url)
    record, key = admin.create("shop", burst=7)
    ring = KeyRing(open_keys(url.replace("postgresql://", "postgres://")))
    ring.load()
    assert caller(ring, key).limits.burst == 7
    assert [r.id for r in admin.records()] == [record.id]
    postgres.stop()
    ring.load()
    assert caller(ring, key).name == "shop"
    with pytest.raises(PenstockError, match="PostgreSQL: ") as away:
        admin.records()
    assert away.value.code == "key-store-away"
    postgres.start()
    admin.revoke(record.id)
    ring.load()
    assert refusal(ring, key) == "revoked-key"
    with pytest.raises(PenstockError, match="no key with id"):
        admin.revoke("nope")


def test_an_unchanged_sqlite_file_is_not_read(tmp_path: Path) -> None:
    """A refresh of a file in which nothing has changed asks for its version and reads no row."""
    path = str(tmp_path / "keys.db")
    admin = KeyAdmin(path)
    admin.create("shop")
    source = database_keys.DatabaseKeys(path)
    first = source.read()
    assert first is not None
    assert [record.name for record in first] == ["shop"]
    statements: list[str] = []
    event.listen(
        source._database.engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: statements.append(statement),
    )
    assert source.read() is None
    assert statements == ["PRAGMA data_version"]
    admin.create("other")
    second = source.read()
    assert second is not None
    assert {record.name for record in second} == {"shop", "other"}


def test_one_url_names_a_file_in_two_ways(tmp_path: Path) -> None:
    """sqlite:///path and the bare path are the same store, whatever characters the path has."""
    path = tmp_path / "100% ours?" / "keys#1.db"
    record, _ = KeyAdmin(f"sqlite:///{path}").create("shop")
    assert path.exists()
    assert open_keys(str(path)).read() == [record]


def test_connecting_creates_no_file(tmp_path: Path) -> None:
    """A file that is deleted just before the connection is made stays deleted."""
    path = tmp_path / "keys.db"
    with pytest.raises(OperationalError, match="unable to open database file"):
        open_database(str(path), lock_seconds=0).engine.connect()
    assert not path.exists()


@pytest.mark.parametrize("url", ["mysql://db/keys", "sqlite://", "sqlite://keys.db"])
def test_another_kind_of_url_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that names neither database is an error at once, not a file that never appears."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PenstockError, match=url.partition("://")[0]) as refused:
        open_keys(url)
    assert refused.value.code == "bad-keys-url"
    assert list(tmp_path.iterdir()) == []


def test_an_outage_does_not_show_what_was_asked(tmp_path: Path) -> None:
    """The error names the file and the database's reason, not the statement."""
    path = tmp_path / "keys.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(KeySourceError) as caught:
        open_keys(str(path)).read()
    assert str(caught.value) == f"{path}: file is not a database"


@pytest.mark.parametrize("absent", ["sqlalchemy", "alembic", "psycopg"])
def test_a_gateway_with_a_secret_needs_no_database_library(absent: str, tmp_path: Path) -> None:
    """SQLAlchemy, Alembic and psycopg are imported only when the keys are in a database."""
    code = (
        "import sys, penstock_gateway.app; from penstock_gateway.auth.key_sources import open_keys; "
        f"open_keys({str(tmp_path)!r}).read(); sys.exit({absent!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

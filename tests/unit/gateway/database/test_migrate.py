"""A database that exists is taken over without losing a key, and versions before and after run side by side on it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.auth.key_record import new_key
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import KeySourceError, open_keys
from penstock_gateway.batches import batch_table  # noqa: F401 (its table is in the metadata, as those below)
from penstock_gateway.database import migrate
from penstock_gateway.database.connect import metadata, open_database
from penstock_gateway.files import file_table  # noqa: F401
from penstock_gateway.stored_responses import response_table  # noqa: F401
from tests.postgres import PostgresServer

#: A file that version 0.1.0 made before it had migrations, with the keys that are in it.
FIXTURE = Path(__file__).parent / "fixtures" / "keys_before_migrations.db"
FIXTURE_KEYS = {
    "shop": "psk_9561642dfef7_dVjQLGdK90tk5D8rXjKsXcy9fTx91FuOL77RWzI8c9w",
    "ci": "psk_e31cfbeed1b2_8nqWjqwR_wIdkK3FtFeqCfa6IIzPBgFb-D2UukJRsz4",
}

# The statements of the versions before 0002. (0.1.0 did not name the columns when it inserted a key.)
OLD_CREATE = """CREATE TABLE IF NOT EXISTS penstock_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash {blob} NOT NULL,
    rate DOUBLE PRECISION,
    burst DOUBLE PRECISION,
    created TEXT NOT NULL,
    revoked TEXT
)"""
OLD_SELECT = "SELECT id, name, hash, rate, burst, created, revoked FROM penstock_keys ORDER BY created, id"
OLD_INSERT = "INSERT INTO penstock_keys (id, name, hash, rate, burst, created, revoked) VALUES (?, ?, ?, ?, ?, ?, ?)"
OLD_REVOKE = "UPDATE penstock_keys SET revoked = coalesce(revoked, ?) WHERE id = ?"


def plainly(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a statement without Penstock's code; its rows."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True, client_encoding="UTF8") as connection:
            cursor = connection.execute(statement.replace("?", "%s").encode(), parameters)
            return cursor.fetchall() if cursor.description else []
    file = sqlite3.connect(url)
    try:
        with file:
            return file.execute(statement, parameters).fetchall()
    finally:
        file.close()


def old_database(url: str) -> dict[str, str]:
    """Create the old version's table with two keys and a revoked one; the keys by their names."""
    plainly(url, OLD_CREATE.format(blob="BYTEA" if url.startswith("postgresql") else "BLOB"))
    keys = {}
    for name, revoked in (("shop", None), ("café", None), ("gone", "2026-01-01T00:00:00Z")):
        record, keys[name] = new_key(name, rate=2.5)
        plainly(url, OLD_INSERT, record.id, name, record.hash, record.rate, None, record.created, revoked)
    return keys


def answers(url: str, keys: dict[str, str]) -> dict[str, str]:
    """What a new gateway says to each key: the caller's name, or the refusal's code."""
    ring = KeyRing(open_keys(url))
    ring.load()
    found = {}
    for name, key in keys.items():
        try:
            found[name] = ring.authenticate([(b"api-key", key.encode())]).name
        except Exception as err:
            found[name] = getattr(err, "code", repr(err))
    return found


def revision(url: str) -> str:
    ((number,),) = plainly(url, f"SELECT version_num FROM {migrate.VERSION_TABLE}")
    return str(number)


def test_a_file_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    """Every key of a SQLite file that the version before made is known to a gateway, which migrates the file."""
    url = str(tmp_path / "keys.db")
    shutil.copy(FIXTURE, url)
    assert answers(url, FIXTURE_KEYS) == {"shop": "shop", "ci": "ci"}
    assert revision(url) == migrate.REVISIONS[-1]
    assert [(r.name, r.rate, r.burst, r.revoked) for r in KeyAdmin(url).records()] == [
        ("shop", 10, 20, None),
        ("gone", None, 5, "2026-11-25T12:48:41Z"),
        ("ci", None, None, None),
    ]


def test_an_old_database_is_taken_over(database_url: str) -> None:
    """Keys survive in SQLite and PostgreSQL with their names, limits and revocation, and new ones join them."""
    keys = old_database(database_url)
    before = plainly(database_url, OLD_SELECT)
    _, keys["new"] = KeyAdmin(database_url).create("new")
    assert revision(database_url) == migrate.REVISIONS[-1]
    assert [row for row in plainly(database_url, OLD_SELECT) if row[1] != "new"] == before
    assert answers(database_url, keys) == {"shop": "shop", "café": "café", "gone": "revoked-key", "new": "new"}


def test_a_database_of_the_first_revision_is_migrated(database_url: str) -> None:
    """Its keys may ask every model and do not expire, as before; new keys have what the new columns hold."""
    keys = old_database(database_url)
    plainly(database_url, f"CREATE TABLE {migrate.VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    plainly(database_url, f"INSERT INTO {migrate.VERSION_TABLE} VALUES ('0001')")
    assert answers(database_url, keys) == {"shop": "shop", "café": "café", "gone": "revoked-key"}
    assert revision(database_url) == migrate.REVISIONS[-1]
    admin = KeyAdmin(database_url)
    assert {(r.models, r.expires, r.last_used) for r in admin.records() if not r.models} == {(None, None, None)}
    record, _ = admin.create("new", models=["price-*"], expires=datetime.now(UTC) + timedelta(days=1))
    assert record in admin.records()


def test_the_version_before_runs_on_the_migrated_database(database_url: str) -> None:
    """Its statements work after the migration, and a gateway of the new version sees what they did."""
    KeyAdmin(database_url).create("new")
    keys = old_database(database_url)
    assert len(plainly(database_url, OLD_SELECT)) == 4
    (shop,) = [row for row in plainly(database_url, OLD_SELECT) if row[1] == "shop"]
    plainly(database_url, OLD_REVOKE, "2026-01-02T00:00:00Z", shop[0])
    assert answers(database_url, keys) == {"shop": "revoked-key", "café": "café", "gone": "revoked-key"}


def test_a_database_of_a_newer_version_is_used_as_it_is(database_url: str) -> None:
    """After a rollback: an unknown revision and a new column stop neither gateway nor administration."""
    admin = KeyAdmin(database_url)
    _, key = admin.create("shop")
    plainly(database_url, "ALTER TABLE penstock_keys ADD COLUMN team TEXT DEFAULT ''")
    plainly(database_url, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    other, other_key = admin.create("other")
    assert answers(database_url, {"shop": key, "other": other_key}) == {"shop": "shop", "other": "other"}
    admin.revoke(other.id)
    assert revision(database_url) == "9999"


def test_a_gateway_migrates_only_a_file_that_is_there(tmp_path: Path) -> None:
    """An empty file becomes a store without keys; an absent one stays absent."""
    assert answers(str(tmp_path / "absent.db"), {"none": "x"}) == {"none": "bad-key"}
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    ring = KeyRing(open_keys(str(tmp_path / "empty.db")))
    ring.load()
    assert ring.loaded
    assert revision(str(tmp_path / "empty.db")) == migrate.REVISIONS[-1]


def test_a_read_only_file_is_read(tmp_path: Path) -> None:
    """A gateway that may not write an old file reads its keys and leaves it as it is."""
    url = str(tmp_path / "keys.db")
    keys = old_database(url)
    reader = open_keys(url)
    real = reader._database.engine.connect  # type: ignore[attr-defined]

    def connect_read_only() -> Any:
        connection = real()
        connection.exec_driver_sql("PRAGMA query_only = true")  # root may write any file, whatever its mode
        return connection

    reader._database.engine.connect = connect_read_only  # type: ignore[attr-defined]
    records = reader.read()
    assert records is not None
    assert {record.name for record in records} == set(keys)
    assert plainly(url, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("penstock_keys",)]


@pytest.mark.parametrize("migrated", [False, True], ids=["old", "migrated"])
def test_a_role_that_may_only_read(postgres: PostgresServer, migrated: bool) -> None:
    """A gateway's role needs no right but SELECT, and then leaves the database as it is."""
    url = postgres.new_database()
    keys = old_database(url)
    if migrated:
        KeyAdmin(url).create("another")
    role = url.rpartition("/")[2] + "_reader"
    plainly(url, f"CREATE ROLE {role} LOGIN")
    plainly(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    reader = url.replace("penstock@", f"{role}@")
    assert answers(reader, keys) == {"shop": "shop", "café": "café", "gone": "revoked-key"}
    tables = plainly(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [(5 if migrated else 1,)]


def test_a_role_that_may_also_note_the_last_use(postgres: PostgresServer) -> None:
    """The right to update that one column is enough."""
    url = postgres.new_database()
    admin = KeyAdmin(url)
    record, _ = admin.create("shop")
    role = url.rpartition("/")[2] + "_gateway"
    plainly(url, f"CREATE ROLE {role} LOGIN")
    plainly(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    gateway = open_keys(url.replace("penstock@", f"{role}@"))
    with pytest.raises(KeySourceError, match="permission denied"):
        gateway.write_last_uses({record.id: "2026-01-01T00:00:00Z"})
    plainly(url, f"GRANT UPDATE (last_used) ON penstock_keys TO {role}")
    gateway.write_last_uses({record.id: "2026-01-01T00:00:00Z"})
    assert [r.last_used for r in admin.records()] == ["2026-01-01T00:00:00Z"]


CREATE_WHEN_TOLD = """
import sys
from penstock_gateway.auth.key_admin import KeyAdmin
import alembic.command
admin = KeyAdmin(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
admin.create(sys.argv[2])
"""


@pytest.mark.parametrize("old", [False, True], ids=["empty", "old"])
def test_migrations_at_once(database_url: str, old: bool) -> None:
    """Four processes that migrate a database and create a key at the same moment all succeed."""
    if old:
        old_database(database_url)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE_WHEN_TOLD, database_url, f"at-once-{i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    made = {record.name for record in KeyAdmin(database_url).records() if record.name.startswith("at-once")}
    assert made == {f"at-once-{i}" for i in range(4)}
    assert revision(database_url) == migrate.REVISIONS[-1]


def test_a_migration_waits_for_another(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process cannot begin to migrate before the first has finished."""
    old_database(database_url)
    database = open_database(database_url, lock_seconds=0.1)
    seen: list[str] = []
    upgrade: Callable[[Any], None] = migrate._upgrade

    def during_an_upgrade(connection: Any) -> None:
        with database.engine.connect() as second, pytest.raises(Exception, match=r"locked|lock timeout"):
            monkeypatch.setattr(migrate, "_upgrade", lambda connection: seen.append("second"))
            migrate.migrate(second)
        seen.append("first")
        upgrade(connection)

    monkeypatch.setattr(migrate, "_LOCK_MILLISECONDS", 100)
    monkeypatch.setattr(migrate, "_upgrade", during_an_upgrade)
    with database.engine.connect() as first:
        migrate.migrate(first)
    assert seen == ["first"]
    assert revision(database_url) == migrate.REVISIONS[-1]


def test_a_failed_migration_changes_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted migration had done is undone, and the next attempt succeeds."""
    database = open_database(database_url, lock_seconds=1)
    if database.file is not None:
        database.file.touch()
    upgrade: Callable[[Any], None] = migrate._upgrade

    def interrupted(connection: Any) -> None:
        upgrade(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(migrate, "_upgrade", interrupted)
    with database.engine.connect() as connection:
        with pytest.raises(KeyboardInterrupt):
            migrate.migrate(connection)
        assert inspect(connection).get_table_names() == []
        monkeypatch.setattr(migrate, "_upgrade", upgrade)
        migrate.migrate(connection)
        assert inspect(connection).has_table("penstock_keys")


def test_the_models_are_what_the_migrations_make(database_url: str) -> None:
    """A model that was changed without a migration, or the reverse, is found."""
    KeyAdmin(database_url).create("shop")
    with open_database(database_url, 1).engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_the_list_of_revisions_is_complete() -> None:
    """``REVISIONS`` names the files of the folder in their order, in one line without branches."""
    config = Config()
    config.set_main_option("script_location", "penstock_gateway.database:migrations")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == migrate.REVISIONS
    assert [script.down_revision for script in reversed(scripts)] == [None, *migrate.REVISIONS[:-1]]


def test_a_migrated_database_needs_no_alembic(database_url: str) -> None:
    """Alembic is imported only when there is something to migrate."""
    KeyAdmin(database_url).create("shop")
    code = (
        "import sys; from penstock_gateway.auth.key_sources import open_keys; "
        f"assert open_keys({database_url!r}).read(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

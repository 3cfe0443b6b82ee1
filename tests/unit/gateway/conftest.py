"""Databases: SQLite and a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import free_ports
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; skips without PostgreSQL's programs."""
    found = shutil.which("pg_ctl") or next((str(p) for p in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
    if found is None:
        pytest.skip("needs PostgreSQL; on Debian: apt-get install postgresql")
    # Not below pytest's own folder: another pytest of the same user closes that to everybody else when it starts.
    with tempfile.TemporaryDirectory(prefix="penstock-postgres-") as home:
        user: dict[str, int] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            nobody = pwd.getpwnam("nobody")
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        server = PostgresServer(found, Path(home), free_ports(1)[0], user)
        server.create()
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database in which nothing has been created: a file that is not there, or an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "keys.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()

"""A real PostgreSQL server for tests."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

_numbers = count(1)


@dataclass
class PostgresServer:
    """A server in which the role ``penstock`` may do everything and needs no password."""

    pg_ctl: str
    home: Path
    port: int
    user: dict[str, int]

    def create(self) -> None:
        # SQL_ASCII is the encoding of a database that was created without a locale. The server then does not know the
        # encoding of its texts, and a client that names none gets bytes.
        initdb = str(Path(self.pg_ctl).with_name("initdb"))
        self._run(initdb, "-D", "data", "-U", "penstock", "-A", "trust", "-E", "SQL_ASCII", "--locale=C")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run(self.pg_ctl, "start", "-D", "data", "-w", "-l", "log", "-o", options)

    def stop(self) -> None:
        self._run(self.pg_ctl, "stop", "-D", "data", "-w", "-m", "fast")

    def new_database(self) -> str:
        """Create an empty database; return its URL."""
        name = f"keys_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str, user: str = "penstock") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, cwd=self.home, stdout=subprocess.DEVNULL, **self.user)  # type: ignore[call-overload]

"""Bringing a database to the tables that this version of Penstock knows.

Who migrates: whoever writes (``penstock keys create`` and ``revoke``), and a gateway each time it connects. A gateway
never creates a SQLite file. If its user may not change tables, it reads what there is.

Migrations expand first and contract later, so that the version before keeps running on the migrated database while
gateways are replaced one by one, and after a rollback:

- A migration adds: tables, nullable columns, columns with a default on the server's side, indexes.
- What a version has stopped using may be dropped by the version after it, not sooner.
- A database that a newer version has migrated has a revision that is not in ``REVISIONS``; it is used as it is.
- There is no downgrade.

The first revision creates ``penstock_keys`` exactly as versions without migrations did, and takes over a table that
one of them made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

VERSION_TABLE = "penstock_alembic_version"
#: The files of migrations/versions, oldest first; known here without importing Alembic, which most starts do not need.
REVISIONS = ("0001", "0002", "0003", "0004")
_ADVISORY_LOCK = 0x70656E73746F636B  # "penstock" in ASCII
_LOCK_MILLISECONDS = 5000  # for PostgreSQL; a SQLite connection has its own


def migrate(connection: Connection) -> None:
    """Apply what is missing; at once and without a lock if nothing is.

    Two processes that migrate one database do it one after the other, and the second finds nothing left to do.

    Args:
        connection: in autocommit mode, with no transaction begun.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused, or another migration took too long; nothing was changed.
    """
    if _is_behind(connection):
        with _transaction_of_its_own(connection):
            if _is_behind(connection):
                _upgrade(connection)


def _is_behind(connection: Connection) -> bool:
    if not inspect(connection).has_table(VERSION_TABLE):
        return True
    revision = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608 (a constant)
    return revision is None or revision in REVISIONS[:-1]


@contextmanager
def _transaction_of_its_own(connection: Connection) -> Iterator[None]:
    """A transaction that waits for another process's migration; in SQL, as the connection is in autocommit mode."""
    try:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        with suppress(SQLAlchemyError):  # the first error says more
            connection.exec_driver_sql("ROLLBACK")
        raise


def _upgrade(connection: Connection) -> None:
    # A tenth of a second to import, and seldom needed.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "penstock_gateway.database:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

"""Alembic's way in: it runs the revisions on the connection that ``migrate`` gives, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from penstock_gateway.database.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()

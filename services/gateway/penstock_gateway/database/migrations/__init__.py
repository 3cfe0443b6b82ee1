"""The database's revisions, for Alembic. ``penstock_gateway.database.migrate`` applies them and has the rules."""

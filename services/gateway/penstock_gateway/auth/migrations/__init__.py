"""The database's revisions, for Alembic. ``penstock_gateway.auth.migrate`` applies them and has the rules."""

"""The keys' table, or the one that a version without migrations made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "penstock_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("rate", sa.Double),
        sa.Column("burst", sa.Double),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("revoked", sa.Text),
        if_not_exists=True,
    )

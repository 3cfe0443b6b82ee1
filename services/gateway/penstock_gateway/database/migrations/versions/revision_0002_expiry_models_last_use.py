"""Until when a key is valid, which models it may call, and when it was last used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("penstock_keys", sa.Column("models", sa.Text))
    op.add_column("penstock_keys", sa.Column("expires", sa.Text))
    op.add_column("penstock_keys", sa.Column("last_used", sa.Text))

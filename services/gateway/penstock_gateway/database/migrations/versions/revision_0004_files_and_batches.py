"""The files of ``/v1/files`` and the batches of ``/v1/batches``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "penstock_files",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
    )
    op.create_index("penstock_files_expires", "penstock_files", ["expires"])
    op.create_index("penstock_files_principal", "penstock_files", ["principal", "created", "id"])
    op.create_table(
        "penstock_batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("cancelling", sa.Double),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("progress", sa.LargeBinary, nullable=False),
    )
    op.create_index("penstock_batches_principal", "penstock_batches", ["principal", "created", "id"])
    op.create_index("penstock_batches_lease", "penstock_batches", ["status", "lease_until"])

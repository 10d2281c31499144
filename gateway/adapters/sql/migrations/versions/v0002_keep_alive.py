"""Plans say after how many seconds a call that waits is kept alive; 0, as for all plans there are, is never."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("plans", sa.Column("keep_alive_s", sa.Double(), nullable=False, server_default="0"))

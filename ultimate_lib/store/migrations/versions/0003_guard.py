"""What is done about a key's unusual calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it to keys."""
    op.add_column("keys", sa.Column("guard", sa.Text(), nullable=True))

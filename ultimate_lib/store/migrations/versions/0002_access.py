"""People, keys and limits in full: passwords' dates, parents of keys, budgets' sums, rates, kept answers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from ultimate_lib.store.tables import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    _add("users", _instant("password_changed_at"), _instant("deactivated_at"), _version())
    _add("teams", _text("title"), _instant("archived_at"), _version())
    _add("team_members", _instant("added_at"))
    _add("sign_in_links", sa.Column("sets_password", sa.Boolean(), server_default=sa.false(), nullable=False))
    _add("sessions", _instant("last_seen_at"), _text("address"), _text("agent"))
    with op.batch_alter_table("keys") as keys:
        keys.add_column(sa.Column("parent_id", sa.Text(), nullable=True))
        keys.add_column(_instant("retires_at"))
        keys.add_column(sa.Column("tags", sa.JSON(), nullable=True))
        keys.add_column(sa.Column("locked", sa.JSON(), nullable=True))
        keys.add_column(_version())
        keys.create_foreign_key(op.f("fk_keys_parent_id"), "keys", ["parent_id"], ["id"])
    _add(
        "budgets",
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("when_short", sa.Text(), server_default="refuse", nullable=False),
        sa.Column("hold_wait_s", sa.Float(), nullable=True),
        _text("unpriced"),
        _version(),
    )
    _sign_in_failures()
    _budget_sums()
    _rate_limits()
    _kept_answers()


def _sign_in_failures() -> None:
    op.create_table(
        "sign_in_failures",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_failed_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sign_in_failures")),
    )
    op.create_index(op.f("ix_sign_in_failures_last_failed_at"), "sign_in_failures", ["last_failed_at"], unique=False)


def _budget_sums() -> None:
    op.create_table(
        "budget_sums",
        sa.Column("budget_id", sa.Text(), nullable=False),
        sa.Column("period_at", Instant(), nullable=False),
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["budget_id"], ["budgets.id"], name=op.f("fk_budget_sums_budget_id")),
        sa.PrimaryKeyConstraint("budget_id", "period_at", "writer", name=op.f("pk_budget_sums")),
    )


def _rate_limits() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), server_default="", nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("concurrent", sa.Integer(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        _version(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rate_limits")),
        sa.UniqueConstraint("subject", "subject_id", name=op.f("uq_rate_limits_subject")),
    )


def _kept_answers() -> None:
    op.create_table(
        "kept_answers",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "name", name=op.f("pk_kept_answers")),
    )


def _add(table: str, *columns: sa.Column[Any]) -> None:
    for column in columns:
        op.add_column(table, column)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=True)


def _instant(name: str) -> sa.Column[Any]:
    return sa.Column(name, Instant(), nullable=True)


def _version() -> sa.Column[int]:
    return sa.Column("version", sa.Integer(), server_default="1", nullable=False)

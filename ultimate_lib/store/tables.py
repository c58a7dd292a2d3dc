"""What people edit, as tables: users, keys, rules, schedules, dashboards, deliveries, audit. Never calls.

Instants end in `_at` and are UTC; money is in nano-dollars; ids are text. JSON columns hold values whose schema the
owning module checks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(sa.types.TypeDecorator[datetime]):
    """A UTC instant: aware in Python, without a zone in SQLite, with one in PostgreSQL."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse naive values; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs its zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def by_letters(connection: sa.Connection, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Return a text column ordered by code points, as SQLite and Python order it, whatever PostgreSQL's locale is."""
    return column.collate("C") if connection.dialect.name == "postgresql" else column


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.Text, primary_key=True)


def _made() -> sa.Column[datetime]:
    return sa.Column("created_at", Instant, nullable=False)


def _version() -> sa.Column[int]:
    """How often the row has changed: what an ETag says, and what a change must name to be taken."""
    return sa.Column("version", sa.Integer, nullable=False, server_default="1")


def _user(name: str = "user_id", *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, sa.ForeignKey("users.id"), nullable=nullable, index=True)


users = sa.Table(
    "users",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("email", sa.Text),
    sa.Column("password_hash", sa.Text),
    sa.Column("oidc_subject", sa.Text, unique=True),
    sa.Column("active", sa.Boolean, nullable=False, default=True),
    _made(),
    sa.Column("last_sign_in_at", Instant),
    sa.Column("password_changed_at", Instant),
    sa.Column("deactivated_at", Instant),
    _version(),
)
teams = sa.Table(
    "teams",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),  # what calls are booked under; never changes
    sa.Column("cost_center", sa.Text),
    _made(),
    sa.Column("title", sa.Text),  # how people call it; null: its name
    sa.Column("archived_at", Instant),
    _version(),
)
team_members = sa.Table(
    "team_members",
    metadata,
    sa.Column("team_id", sa.Text, sa.ForeignKey("teams.id"), primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("lead", sa.Boolean, nullable=False, default=False),
    sa.Column("added_at", Instant),
)
role_grants = sa.Table(
    "role_grants",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, default="all"),  # own | team | all
)
keys = sa.Table(
    "keys",
    metadata,
    _id(),
    _user(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),  # shown to recognise it
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),  # SHA-256 of the whole key
    sa.Column("scopes", sa.JSON, nullable=False),  # permissions
    sa.Column("models", sa.JSON),  # allow-list; null: all
    sa.Column("team", sa.Text),
    sa.Column("project", sa.Text),
    sa.Column("cost_center", sa.Text),
    sa.Column("app", sa.Text),
    sa.Column("loopback_only", sa.Boolean, nullable=False, default=False),
    _made(),
    sa.Column("expires_at", Instant),
    sa.Column("revoked_at", Instant),
    sa.Column("rotated_from", sa.Text, sa.ForeignKey("keys.id")),  # this is a former secret of that key
    sa.Column("parent_id", sa.Text, sa.ForeignKey("keys.id")),  # the key that made it; ends with it
    sa.Column("retires_at", Instant),  # end of a former secret's overlap with its successor
    sa.Column("tags", sa.JSON),  # defaults of its calls' tags
    sa.Column("locked", sa.JSON),  # names of attribution fields that its calls cannot change
    sa.Column("guard", sa.Text),  # observe | warn | block; null: as the key above it, else the setting
    _version(),
)
sessions = sa.Table(
    "sessions",
    metadata,
    _id(),
    _user(),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    _made(),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Column("last_seen_at", Instant),
    sa.Column("address", sa.Text),
    sa.Column("agent", sa.Text),  # how the browser calls itself
)
sign_in_failures = sa.Table(
    "sign_in_failures",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),  # name:… or address:…
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_failed_at", Instant, nullable=False, index=True),
)
sign_in_links = sa.Table(
    "sign_in_links",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    _user(),
    _made(),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("used_at", Instant),
    sa.Column("sets_password", sa.Boolean, nullable=False, server_default=sa.false()),  # instead of signing in
)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False, index=True),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON),
    sa.Column("address", sa.Text),
    sa.Column("previous_hash", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)
settings_values = sa.Table(
    "settings_values",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    _user("updated_by", nullable=True),
)
budgets = sa.Table(
    "budgets",
    metadata,
    _id(),
    sa.Column("subject", sa.Text, nullable=False),  # global | key | user | team | project | tag
    sa.Column("subject_id", sa.Text),
    sa.Column("unit", sa.Text, nullable=False),  # nano_usd | tokens
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("period", sa.Text, nullable=False),  # day | week | month | total
    sa.Column("hard", sa.Boolean, nullable=False),
    _made(),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("when_short", sa.Text, nullable=False, server_default="refuse"),  # refuse | clamp
    sa.Column("hold_wait_s", sa.Float),  # null: the setting's
    sa.Column("unpriced", sa.Text),  # refuse | allow | price_as:<model>; null: the setting's
    _version(),
)
budget_sums = sa.Table(
    "budget_sums",
    metadata,
    sa.Column("budget_id", sa.Text, sa.ForeignKey("budgets.id"), primary_key=True),
    sa.Column("period_at", Instant, primary_key=True),  # start of the period
    sa.Column("writer", sa.Text, primary_key=True),  # empty: of the lake, when the period was first summed
    sa.Column("segment", sa.BigInteger, nullable=False),  # the writer's last that is in the sum
    sa.Column("spent", sa.BigInteger, nullable=False),  # in the budget's unit
)
rate_limits = sa.Table(
    "rate_limits",
    metadata,
    _id(),
    sa.Column("subject", sa.Text, nullable=False),  # global | key | user | team
    sa.Column("subject_id", sa.Text, nullable=False, server_default=""),
    sa.Column("requests_per_minute", sa.BigInteger),
    sa.Column("tokens_per_minute", sa.BigInteger),
    sa.Column("concurrent", sa.Integer),
    _made(),
    _version(),
    sa.UniqueConstraint("subject", "subject_id"),
)
kept_answers = sa.Table(
    "kept_answers",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),  # the Idempotency-Key
    sa.Column("request_hash", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.Integer),  # null: its request is under way
    sa.Column("ciphertext", sa.LargeBinary),  # the answer, sealed: it may hold a new key
    _made(),
)
channels = sa.Table(
    "channels",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    _made(),
)
alert_rules = sa.Table(
    "alert_rules",
    metadata,
    _id(),
    _user("owner_id"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("condition", sa.JSON, nullable=False),
    sa.Column("channel_ids", sa.JSON, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    _made(),
)
dashboards = sa.Table(
    "dashboards",
    metadata,
    _id(),
    _user("owner_id"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    _made(),
)
schedules = sa.Table(
    "schedules",
    metadata,
    _id(),
    _user("owner_id"),
    sa.Column("job", sa.JSON, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    sa.Column("next_run_at", Instant, index=True),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    _made(),
)
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("schedule_id", sa.Text, sa.ForeignKey("schedules.id"), primary_key=True),
    sa.Column("slot_at", Instant, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("lease_until_at", Instant),
    sa.Column("result", sa.JSON),
)
deliveries = sa.Table(
    "deliveries",
    metadata,
    _id(),
    sa.Column("channel_id", sa.Text, sa.ForeignKey("channels.id"), nullable=False, index=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt_at", Instant),
    sa.Column("error", sa.Text),
    _made(),
)

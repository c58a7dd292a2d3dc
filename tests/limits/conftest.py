"""Budgets' sums are tested on SQLite and on PostgreSQL."""

from __future__ import annotations

from tests.store.stores import migrated, postgres

__all__ = ["migrated", "postgres"]

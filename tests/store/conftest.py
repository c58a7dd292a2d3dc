"""Tests of the store run on SQLite and on PostgreSQL."""

from __future__ import annotations

from tests.store.stores import empty_url, migrated, postgres, store, store_url

__all__ = ["empty_url", "migrated", "postgres", "store", "store_url"]

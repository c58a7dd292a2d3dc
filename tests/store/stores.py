"""Stores for tests, each test on both databases: a conftest imports what its folder needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.store.postgres import Postgres, server
from tests.store.ready import ready_store
from ultimate_lib.store import Store

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session."""
    with server() as running:
        yield running


class Migrated(NamedTuple):
    """A server and the name of a database in it that has all tables and no rows."""

    server: Postgres
    template: str


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> Migrated:
    """A server with a database to copy."""
    url = postgres.database()
    made = Store(url)
    made.migrate()
    made.close()
    return Migrated(postgres, url.rpartition("/")[2])


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a store that has no tables yet: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'store.sqlite'}"
    running: Postgres = request.getfixturevalue("postgres")
    return running.database()


@pytest.fixture(params=BOTH)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a store with all tables: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'data' / 'store.sqlite'}"
        ready_store(url).close()
        return url
    found: Migrated = request.getfixturevalue("migrated")
    return found.server.database(found.template)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store with all tables: SQLite, then PostgreSQL."""
    made = Store(store_url)
    yield made
    made.close()

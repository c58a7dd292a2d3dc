"""Stores for tests, each test on both databases: a conftest imports what its folder needs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
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


_SHAPE = """
SELECT (SELECT string_agg(concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull, atthasdef), ', '
                          ORDER BY attrelid::regclass::text, attnum)
          FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_proc),
       (SELECT count(*) FROM pg_db_role_setting), (SELECT string_agg(version_num, ' ') FROM alembic_version)
"""
_WRITTEN = """
SELECT quote_ident(relname) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
   AND pg_relation_size(oid) > 0
"""
_FROM_ONE = "SELECT setval(oid, 1, false) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"
_OTHERS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_LEFT_S = 0.2


class Migrated(NamedTuple):
    """A server and the name of a database in it that has all tables and no rows."""

    server: Postgres
    template: str
    shape: tuple[Any, ...]
    spare: list[str]

    def lend(self) -> str:
        """Return the address of such a database: one that came back empty, or a copy, which is 300 files."""
        return self.server.url(self.spare.pop()) if self.spare else self.server.database(self.template)

    def take_back(self, url: str) -> None:
        """Empty a database for the next test, unless somebody is still in it or it is not what it was."""
        name = url.rpartition("/")[2]
        with contextlib.suppress(psycopg.Error), self.server.connect(name) as connection:  # else the server is away
            until = time.monotonic() + _LEFT_S
            while connection.execute(_OTHERS).fetchall():
                if time.monotonic() > until:
                    return
                time.sleep(0.005)
            if connection.execute(_SHAPE).fetchone() != self.shape:
                return
            connection.execute("SET session_replication_role = replica")  # rows may go in whatever order
            for (table,) in connection.execute(_WRITTEN).fetchall():
                connection.execute(f"DELETE FROM {table}".encode())
                connection.execute(f"VACUUM {table}".encode())
            connection.execute(_FROM_ONE)
            assert connection.execute(_WRITTEN).fetchall() == []
            self.spare.append(name)


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> Migrated:
    """A server with a database to copy."""
    url = postgres.database()
    made = Store(url)
    made.migrate()
    made.close()
    name = url.rpartition("/")[2]
    (shape,) = postgres.ask(_SHAPE, name)
    return Migrated(postgres, name, shape, [])


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a store that has no tables yet: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'store.sqlite'}"
    running: Postgres = request.getfixturevalue("postgres")
    return running.database()


@pytest.fixture(params=BOTH)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a store with all tables: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'data' / 'store.sqlite'}"
        ready_store(url).close()
        yield url
        return
    found: Migrated = request.getfixturevalue("migrated")
    lent = found.lend()
    yield lent
    found.take_back(lent)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store with all tables: SQLite, then PostgreSQL."""
    made = Store(store_url)
    yield made
    made.close()

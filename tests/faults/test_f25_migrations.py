"""F25: each older schema with rows in all of its tables, its migration killed at any step: resumed, nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.harness import ROOT, environment
from tests.store import migrating
from tests.store.postgres import Postgres
from tests.store.stores import BOTH, postgres
from ultimate_lib.errors import Invalid
from ultimate_lib.store import Store, engine, tables

__all__ = ["postgres"]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLDER = [path.name.partition("_")[0] for path in sorted((engine._MIGRATIONS / "versions").glob("[0-9]*.py"))[:-1]]


def value(column: sa.Column[Any], number: int) -> Any:
    """Return something for a column: what it refers to, or a value of its type."""
    for key in column.foreign_keys:
        return None if key.column.table is column.table else value(key.column, number)
    kind = column.type
    if isinstance(kind, sa.DateTime):
        return NOON
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.JSON):
        return ["x"]
    if isinstance(kind, sa.LargeBinary):
        return f"{column.name}{number}".encode()
    return number if isinstance(kind, sa.Integer | sa.Float) else f"{column.name}{number}"


def old(url: str, revision: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Make a store as the program of that schema did, with two rows in each table; return what stands in it."""
    scripts = folder / f"scripts-{revision}"
    if not scripts.exists():
        shutil.copytree(engine._MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (scripts / "versions").glob("[0-9]*.py"):
            if path.name.partition("_")[0] > revision:
                path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_MIGRATIONS", scripts)
        store = Store(url)
        store.migrate()
    found = sa.MetaData()
    with store.begin() as connection:
        found.reflect(connection)
        for table in found.sorted_tables:
            if table.name != "alembic_version":
                for number in (1, 2):
                    row = {column.name: value(column, number) for column in table.columns}
                    connection.execute(sa.insert(_typed(table)).values(row))
                if "rotated_from" in table.columns:
                    connection.execute(sa.update(table).where(table.c.id == "id2").values(rotated_from="id1"))
    store.close()
    return content(url, found)


def _typed(table: sa.Table) -> sa.Table:
    """Return a table with the types that the code knows, where it has them still."""
    known = tables.metadata.tables[table.name]
    names = [column.name for column in table.columns]
    return sa.table(table.name, *(sa.column(name, known.c[name].type) for name in names))  # type: ignore[return-value]


def content(url: str, only: sa.MetaData | None = None) -> dict[str, list[Any]]:
    """Return all rows of all tables, of those columns that `only` knows."""
    store = Store(url)
    found = only or sa.MetaData()
    with store.begin() as connection:
        if only is None:
            found.reflect(connection)
        rows = {
            table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }
    store.close()
    return rows


class Places:
    """Makes stores of one kind of database, and copies of them."""

    def __init__(self, kind: str, folder: Path, server: Callable[[], Postgres]) -> None:
        self.kind, self.folder, self._server, self._made = kind, folder, server, 0

    def new(self, template: str = "") -> str:
        self._made += 1
        if self.kind == "postgresql":
            return self._server().database(template.rpartition("/")[2] or "template1")
        path = self.folder / f"{self._made}" / "store.sqlite"
        path.parent.mkdir()
        if template:
            shutil.copy(template.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"


@pytest.fixture(params=BOTH)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    return Places(request.param, tmp_path, lambda: request.getfixturevalue("postgres"))


@pytest.mark.slow
@pytest.mark.parametrize("apart", [7, pytest.param(1, marks=pytest.mark.heavy)], ids=["some", "all"])
@pytest.mark.parametrize("revision", OLDER)
def test_f25_killed_at_a_step_a_migration_is_resumed(
    places: Places, revision: str, apart: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some steps do for every run, the first and the last among them.

    What a migration wrongly put down for good before a kill, a kill at any later step shows.
    """
    before = places.new()
    rows = old(before, revision, tmp_path, monkeypatch)
    assert all(len(found) == 2 for found in rows.values())
    if places.kind == "sqlite":  # what stands in its log belongs to it
        sqlite3.connect(before.removeprefix("sqlite:///")).execute(
            "PRAGMA wal_checkpoint(TRUNCATE)"
        ).connection.close()
    whole = places.new(before)
    steps: list[int] = []
    store = Store(whole)
    with migrating.told(steps.append):
        store.migrate()
    store.close()
    after = content(whole)
    assert len(steps) > (20 if revision < "0002" else 5)  # 0003 adds one column
    killed = {one: places.new(before) for one in steps if one % apart == 1 % apart or one > len(steps) - 4}
    told = killed | {len(steps) + 1: places.new(before)}  # there is no such step
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.migrating", *(str(part) for one in told.items() for part in one)],
        cwd=ROOT, env=environment(tmp_path), text=True, capture_output=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(len(steps) + 1)], "each was killed but the one that had nothing left"
    for url in killed.values():
        store = Store(url)
        present, newest = store.schema()
        assert present in {revision, newest}, "all of it, or nothing"
        if present == revision:
            assert store.migrate()[-1] == newest
        assert store.migrate() == []
        store.close()
        assert content(url) == after
        if places.kind == "sqlite":
            (copy,) = Path(url.removeprefix("sqlite:///")).parent.glob("store.sqlite.before-*[0-9]")
            assert content(f"sqlite:///{copy}") == rows, "the copy is what was there"


def test_f25_a_newer_schema_is_refused(places: Places) -> None:
    store = Store(places.new())
    store.migrate()
    with store.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Invalid, match="newer than this program"):
        store.migrate()
    store.close()

"""The store: made once, brought up to date with a copy aside, and wrong in sentences."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import sqlite3
import stat
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from ultimate_lib.errors import Corrupt, Invalid, Unavailable
from ultimate_lib.store import Store, audit, tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(number: int, **members: object) -> dict[str, object]:
    return {"at": NOON + timedelta(seconds=number), "actor": "ada", "action": "key.create", "object": f"key_{number}",
            "before": None, "after": {"n": number}, "address": None, **members}  # fmt: skip


def test_the_migrations_make_exactly_the_tables_that_the_code_knows(store: Store) -> None:
    inspector = sa.inspect(store.engine)
    found = set(inspector.get_table_names()) - {"alembic_version"}
    assert found == set(tables.metadata.tables)
    for name, table in tables.metadata.tables.items():
        columns = {column["name"]: column for column in inspector.get_columns(name)}
        assert set(columns) == {column.name for column in table.columns}, name
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, (name, column.name)
        uniques = {tuple(one["column_names"]) for one in inspector.get_unique_constraints(name)}
        assert {(column.name,) for column in table.columns if column.unique} <= uniques, name
        foreign = {(one["constrained_columns"][0], one["referred_table"]) for one in inspector.get_foreign_keys(name)}
        assert foreign == {(key.parent.name, key.column.table.name) for key in table.foreign_keys}, name


def test_migrating_twice_changes_nothing(store: Store) -> None:
    assert store.migrate() == []


def _migrate(url: str, results: multiprocessing.Queue[int]) -> None:
    results.put(len(Store(url).migrate()))


def test_processes_that_start_together_take_turns(empty_url: str) -> None:
    url = empty_url
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    children = [context.Process(target=_migrate, args=(url, results)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert sorted(results.get(timeout=5) for _ in children)[:2] == [0, 0]
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_a_newer_schema_is_refused_and_left_alone(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_later'"))
    with pytest.raises(Invalid, match="newer than this program"):
        store.migrate()


def test_an_instant_keeps_its_moment_and_a_naive_one_is_refused(store: Store) -> None:
    tokyo = timezone(timedelta(hours=9))
    with store.begin() as connection:
        connection.execute(
            sa.insert(tables.teams).values(id="t", name="t", created_at=datetime(2026, 3, 1, 21, tzinfo=tokyo))
        )
        assert connection.execute(sa.select(tables.teams.c.created_at)).scalar_one() == NOON
    with pytest.raises(sa.exc.StatementError, match="zone"), store.begin() as connection:
        connection.execute(sa.insert(tables.teams).values(id="u", name="u", created_at=datetime(2026, 3, 1)))  # noqa: DTZ001


def test_what_is_wrong_with_a_store_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no address of a database"):
        Store("not an address")
    empty = Store(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    with pytest.raises(Unavailable, match="ultimate-proxy up"), empty.begin() as connection:
        connection.execute(sa.select(tables.users))
    (tmp_path / "noise.sqlite").write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with (
        pytest.raises(Corrupt, match="backup"),
        Store(f"sqlite:///{tmp_path / 'noise.sqlite'}").begin() as connection,
    ):
        connection.execute(sa.select(tables.users))
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="--data"):
        Store(f"sqlite:///{tmp_path / 'file' / 'store.sqlite'}").migrate()


def test_the_audit_chain_tells_the_first_row_that_was_touched(store: Store) -> None:
    with store.begin() as connection:
        for number in range(5):
            audit.append(connection, row(number))
    with store.begin() as connection:
        assert audit.broken_at(connection) is None
        connection.execute(sa.update(tables.audit).where(tables.audit.c.number == 3).values(actor="mallory"))
        assert audit.broken_at(connection) == 3
    with store.begin() as connection:
        connection.execute(sa.update(tables.audit).where(tables.audit.c.number == 3).values(actor="ada"))
        assert audit.broken_at(connection) is None
        connection.execute(sa.delete(tables.audit).where(tables.audit.c.number == 2))
        assert audit.broken_at(connection) == 3, "a row taken out is seen at the next"


def test_an_older_store_is_copied_aside_before_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second revision, made up here, stands for the next release."""
    old = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    old.migrate()
    with old.begin() as connection:
        connection.execute(sa.insert(tables.teams).values(id="t", name="kept", created_at=NOON))
    still_open = old.engine.connect()  # another process: the row stands in the write-ahead log
    from ultimate_lib.store import engine

    scripts = tmp_path / "migrations"
    shutil.copytree(engine._MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_next.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\nrevision = '9999_next'\n"
        f"down_revision = {_head(engine._MIGRATIONS)!r}\n"
        "def upgrade():\n    op.add_column('teams', sa.Column('motto', sa.Text))\n"
    )
    monkeypatch.setattr(engine, "_MIGRATIONS", scripts)
    fresh = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    assert fresh.migrate() == ["9999_next"]
    (copy,) = tmp_path.glob("store.sqlite.before-*")
    for path, columns in ((copy, 7), (tmp_path / "store.sqlite", 8)):
        read = sqlite3.connect(path)
        (found,) = read.execute("SELECT * FROM teams").fetchall()
        assert len(found) == columns
        assert "kept" in found
        read.close()
    still_open.close()


def _head(folder: Path) -> str:
    newest = max((folder / "versions").glob("0*.py"))
    return next(
        line.split("=")[1].strip().strip("\"'")
        for line in newest.read_text().splitlines()
        if line.startswith("revision")
    )


def test_the_folder_of_a_new_store_is_private(tmp_path: Path) -> None:
    Store(f"sqlite:///{tmp_path / 'data' / 'store.sqlite'}").migrate()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_the_files_of_a_store_are_private_in_a_folder_that_is_not(tmp_path: Path) -> None:
    """They hold the hashes of passwords; the data folder may be one that somebody made beforehand."""
    tmp_path.chmod(0o755)
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    store.migrate()
    with store.begin():
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes.keys() >= {"store.sqlite", "store.sqlite-wal", "store.sqlite.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "url", ["postgres://ada:secret@host/db", "postgresql//ada:secret@host/db", "postgresql+nosuch://ada:secret@h/db"]
)
def test_an_address_that_names_no_known_database_is_told_without_its_password(url: str) -> None:
    with pytest.raises(Invalid, match=r"data\.store_url") as told:
        Store(url)
    assert "secret" not in str(told.value)


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Invalid, match="needs the package 'psycopg'") as told:
        Store("postgresql+psycopg://ada:secret@host/db")
    assert "secret" not in str(told.value)


def test_what_clients_are_told_of_a_lost_database_names_neither_host_nor_user(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        lost = Store(f"postgresql+psycopg://secretive:hush@127.0.0.1:{port}/ledger")
        for _ in range(2):
            with pytest.raises(Unavailable) as caught, lost.begin():
                pass
        lost.close()
    for word in ("secretive", "hush", "127.0.0.1", str(port), "ledger"):
        assert word not in str(caught.value)
        assert (word in caplog.text) is (word != "hush")
    assert len(caplog.records) == 1, "told once, and again after a minute"

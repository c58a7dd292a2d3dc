"""Budgets, their sums and rate limits as rows, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ultimate_lib.clock import EPOCH
from ultimate_lib.limits import spent
from ultimate_lib.store import Store, identities, keys, limits, tables
from ultimate_lib.store.tables import budget_sums

AT = datetime(2026, 3, 28, tzinfo=UTC)
LARGE = 2**62  # nano-dollars: 4.6 thousand million dollars


def budget(number: int, **members: Any) -> dict[str, Any]:
    return {
        "id": f"b{number}", "name": "", "subject": "global", "subject_id": "", "unit": "nano_usd", "amount": 10,
        "period": "day", "hard": True, "enabled": True, "when_short": "refuse", "hold_wait_s": None, "unpriced": None,
        "created_at": AT + timedelta(seconds=number), "version": 1, **members,
    }  # fmt: skip


def kept(store: Store) -> list[tuple[Any, ...]]:
    c = budget_sums.c
    with store.begin() as connection:
        query = sa.select(c.budget_id, c.period_at, c.writer, c.segment, c.spent)
        return sorted(tuple(row) for row in connection.execute(query))


def test_rows_are_made_changed_once_and_removed(store: Store) -> None:
    with store.begin() as connection:
        first = limits.mark(connection)
        limits.add(connection, "budget", budget(2))
        limits.add(connection, "budget", budget(1, amount=LARGE))
        assert [row["id"] for row in limits.rows(connection, "budget")] == ["b1", "b2"]
        assert limits.mark(connection) != first
    with store.begin() as connection:
        before = limits.mark(connection)
        assert limits.change(connection, "budget", "b1", 1, {"amount": LARGE + 1})
        assert not limits.change(connection, "budget", "b1", 1, {"amount": 5})
        row = limits.row(connection, "budget", "b1")
        assert row is not None
        assert (row["amount"], row["version"], row["created_at"]) == (LARGE + 1, 2, AT + timedelta(seconds=1))
        assert limits.mark(connection) != before
        assert not limits.remove(connection, "budget", "b1", 1)
        assert limits.remove(connection, "budget", "b1", 2)
        assert limits.row(connection, "budget", "b1") is None


def test_a_sum_begins_once_and_moves_from_where_it_was(store: Store) -> None:
    with store.begin() as connection:
        limits.add(connection, "budget", budget(1))
    with store.begin() as connection:
        assert limits.base(connection, "b1", AT, LARGE, {"w": 3})
        assert not limits.base(connection, "b1", AT, 7, {"w": 4})
        assert limits.advance(connection, "b1", AT, "w", 3, 5, 20)
        assert not limits.advance(connection, "b1", AT, "w", 3, 6, 99)
        assert limits.advance(connection, "b1", AT, "new", 0, 1, 1)
        assert not limits.advance(connection, "b1", AT, "new", 0, 2, 99)
    with store.begin() as connection:
        found = limits.sums(connection, {"b1": AT, "b2": AT})
        assert found == {"b1": {"": limits.Mark(0, LARGE), "w": limits.Mark(5, 20), "new": limits.Mark(1, 1)}}
        assert limits.sums(connection, {"b1": AT + timedelta(days=1)}) == {}
        assert limits.sums(connection, {}) == {}


def test_old_periods_are_folded_and_those_without_end_stay(store: Store) -> None:
    days = [AT, AT + timedelta(days=1)]
    with store.begin() as connection:
        limits.add(connection, "budget", budget(1))
        limits.add(connection, "budget", budget(2, period="total"))
        for day in days:
            limits.base(connection, "b1", day, LARGE // 4, {"w": 3})
            limits.advance(connection, "b1", day, "w", 3, 4, LARGE // 4)
        limits.base(connection, "b2", EPOCH, 5, {"w": 3})
        assert limits.last_periods(connection) == {"b1": days[1], "b2": EPOCH}
        assert limits.fold(connection, days[1]) == 1
        assert limits.fold(connection, days[1]) == 0
    half = LARGE // 4 * 2
    assert kept(store) == [
        ("b1", days[0], "", 0, half), ("b1", days[1], "", 0, LARGE // 4), ("b1", days[1], "w", 4, LARGE // 4),
        ("b2", EPOCH, "", 0, 5), ("b2", EPOCH, "w", 3, 0),
    ]  # fmt: skip


def test_a_removed_budget_takes_its_sums_along(store: Store) -> None:
    with store.begin() as connection:
        limits.add(connection, "budget", budget(1))
        limits.base(connection, "b1", AT, 5, {})
    with store.begin() as connection:
        assert limits.remove(connection, "budget", "b1", 1)
    assert kept(store) == []


@pytest.mark.parametrize("kind", ["key", "user", "team"])
def test_a_subject_that_does_not_exist_is_none(store: Store, kind: str) -> None:
    with store.begin() as connection:
        assert limits.subject(connection, kind, "nobody") is None


def test_keys_and_users_under_a_limit_are_called_by_their_names(store: Store) -> None:
    key = {"id": "key_1", "user_id": "user_ann", "name": "laptop", "prefix": "cp_1", "hash": b"1", "scopes": []}
    with store.begin() as connection:
        identities.add_user(connection, {"id": "user_ann", "name": "ann", "active": True, "created_at": AT}, ())
        keys.add(connection, {**key, "created_at": AT})
        limits.add(connection, "budget", budget(1, subject="user", subject_id="user_ann"))
        limits.add(connection, "budget", budget(2, subject="team", subject_id="search"))
        limits.add(connection, "rate_limit", {"id": "r1", "subject": "key", "subject_id": "key_1", "created_at": AT})
        assert limits.names(connection) == {("key", "key_1"): "laptop", ("user", "user_ann"): "ann"}
    told = spent.read(store)
    assert told is not None
    assert [one.title for one in told.budgets] == ["of user 'ann' a day", "of team 'search' a day"]
    assert [one.title for one in told.rates] == ["key 'laptop'"]
    assert spent.read(store, told.mark) is None
    with store.begin() as connection:
        assert keys.change(connection, "key_1", 1, {"name": "desk"})
    told = spent.read(store, told.mark)
    assert told is not None
    assert [one.title for one in told.rates] == ["key 'desk'"]


def test_keys_under_a_limit_are_looked_up_not_searched_for(store: Store) -> None:
    of_limit = sa.select(tables.keys.c.version).where(limits._limited("key", tables.keys.c.id))
    with store.begin() as connection:
        query = str(of_limit.compile(connection, compile_kwargs={"literal_binds": True}))
        if connection.dialect.name == "postgresql":  # which else reads a small table whole
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {query}").scalars().all()
        else:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").mappings().all()
    assert "keys" in str(plan)
    assert "Seq Scan on keys" not in str(plan)
    assert "SCAN keys" not in str(plan)

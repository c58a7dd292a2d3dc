"""Once, on both databases: the change and its kept answer are one transaction."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ultimate_lib.access import once
from ultimate_lib.clock import SystemClock
from ultimate_lib.errors import Denied
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store

MASTER = MasterKey(bytes(32))


def asked(store: Store, name: str = "a", text: bytes = b"x") -> once.Once:
    return once.Once(store, SystemClock(), MASTER, "user_1", name, text)


def add(store: Store, name: str) -> None:
    with store.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO sign_in_failures VALUES ('{name}', 1, '2026-01-01 00:00:00')")


def there(store: Store) -> set[str]:
    with store.begin() as connection:
        return {row[0] for row in connection.exec_driver_sql("SELECT subject FROM sign_in_failures")}


def test_both_or_neither(store: Store) -> None:
    def work() -> tuple[int, str]:
        add(store, "one")
        return 201, '"one"'

    def late() -> tuple[int, str]:
        add(store, "two")
        raise Denied("no")

    with pytest.raises(Denied):
        asked(store).run(late)
    assert there(store) == set()
    assert asked(store).run(work) == once.Kept(201, '"one"')
    assert asked(store).run(work) == once.Kept(201, '"one"', again=True)
    assert there(store) == {"one"}


def test_a_part_that_fails_inside_undoes_itself_alone(store: Store) -> None:
    def work() -> tuple[int, str]:
        add(store, "one")
        with pytest.raises(Exception, match=r"(?i)unique"):
            add(store, "one")
        add(store, "two")
        return 201, "{}"

    asked(store).run(work)
    assert there(store) == {"one", "two"}


def test_many_at_once_do_it_once(store: Store) -> None:
    gate, done = threading.Barrier(6), []

    def work() -> tuple[int, str]:
        done.append(1)
        add(store, f"made-{len(done)}")
        return 201, "{}"

    def one(_: int) -> bool:
        gate.wait()
        try:
            return asked(store).run(work).again
        except once.UnderWay:
            return True

    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(one, range(6)))
    assert told.count(False) == 1
    assert there(store) == {"made-1"}


def test_what_others_do_meanwhile_is_not_part_of_it(store: Store) -> None:
    """Only the thread that works is in the transaction: another's change stays when that is undone."""

    def work() -> tuple[int, str]:
        add(store, "inside")
        raise Denied("no")

    begun = threading.Thread(target=add, args=(store, "outside"))
    begun.start()
    begun.join()
    with pytest.raises(Denied):
        asked(store).run(work)
    assert there(store) == {"outside"}

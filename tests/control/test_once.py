"""Idempotency keys: what is asked twice is made once, whatever dies in between, and told to nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.alone import Alone, Reply
from ultimate_lib.access import once
from ultimate_lib.clock import Clock, SystemClock
from ultimate_lib.errors import Denied, Invalid
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store, audit

CREATE_NOTHING = {
    "/api/predictive/detect-anomaly": "judges a call that is described; nothing is recorded",
    "/logout": "ends a session",
    "/api/auth/login": "starts a session; each sign-in is one of its own",
    "/api/auth/logout": "ends a session",
    "/api/auth/password": "uses its link up",
    "/login": "starts a session; each sign-in is one of its own",
    "/api/predictive/guard/cooldowns/{id}/end": "ends one that is there; the same twice finds none",
    "/api/predictive/guard/{id}/accept": "the last one holds; the same twice is learnt once",
    "/api/predictive/smart-alert": "proposes a rule, and makes none",
    "/api/users/{id}/deactivate": "the same twice changes nothing",
    "/api/users/{id}/reactivate": "the same twice changes nothing",
}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def make(control: Alone, name: str, told: Any = None, key: str | None = None, path: str = "/api/keys") -> Reply:
    return control.ask(
        "POST", path, key=key or control.key, headers={"Idempotency-Key": name}, told=told or {"name": "one"}
    )


def names(control: Alone) -> list[str]:
    with control.bench.store.begin() as connection:
        return [row[0] for row in connection.exec_driver_sql("SELECT name FROM keys")]


def test_each_post_creates_or_is_known_not_to() -> None:
    posts = [route for route in TABLE if route.method == "POST" and not route.page]
    for route in posts:
        assert route.creates or route.path in CREATE_NOTHING, f"{route.path}: status=201, or why not"
    assert any(route.creates for route in posts)


def test_the_same_request_has_the_same_answer_and_makes_one_thing(control: Alone) -> None:
    first, again = make(control, "a"), make(control, "a")
    assert (first.status, again.status) == (201, 201)
    assert first.json == again.json
    assert first.json["key"].startswith("cp_")
    assert (first.headers["Idempotent-Replayed"], again.headers["Idempotent-Replayed"]) == (None, "true")
    assert names(control).count("one") == 1
    assert make(control, "b").json["key"] != first.json["key"]
    assert names(control).count("one") == 2
    with control.bench.store.begin() as connection:
        assert audit.broken_at(connection) is None


def test_the_answer_is_sealed_and_not_the_key_in_the_file(control: Alone) -> None:
    key = make(control, "a").json["key"]
    with control.bench.store.begin() as connection:
        row = connection.exec_driver_sql("SELECT name, status, ciphertext FROM kept_answers").one()
    assert (row[0], row[1]) == ("a", 201)
    assert key.encode() not in row[2]
    opened = control.bench.master.open(once.PURPOSE, f"{control.admin_id}:a", row[2])
    assert json.loads(opened)["key"] == key


def test_lesson_L13_a_kept_answer_opens_for_its_own_purpose_and_name_alone(control: Alone) -> None:
    make(control, "a")
    make(control, "b")
    with control.bench.store.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE kept_answers SET ciphertext = (SELECT ciphertext FROM kept_answers WHERE name = 'a')"
        )
    assert make(control, "a").status == 201
    swapped = make(control, "b")
    assert (swapped.status, swapped.json["error"]["code"]) == (409, "idempotency_lost")
    assert names(control).count("one") == 2, "nothing is made a second time for it"


def test_another_request_of_that_name_is_refused(control: Alone) -> None:
    make(control, "a")
    other = make(control, "a", {"name": "two"})
    assert (other.status, other.json["error"]["code"]) == (422, "idempotency_mismatch")
    assert make(control, "a", path="/api/api-keys").status == 422
    assert "two" not in names(control)


def test_what_a_stronger_key_was_told_is_not_told_to_a_weaker_one(control: Alone) -> None:
    made = make(control, "a", {"name": "weak", "scopes": ["analytics:view"]}).json
    stolen = make(control, "a", {"name": "weak", "scopes": ["analytics:view"]}, key=made["key"])
    assert (stolen.status, stolen.json["error"]["code"]) == (422, "idempotency_mismatch")
    assert made["key"] not in stolen.text
    other = control.add_user("other", "admin")
    assert make(control, "a", key=other).status == 201, "names are each user's own"


def test_what_failed_is_not_kept(control: Alone) -> None:
    assert make(control, "a", {"name": ""}).status == 400
    assert make(control, "a", {"name": "good"}).status == 201


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "a b", "\u00fc", "a\tb"])
def test_names_that_cannot_be(control: Alone, name: str) -> None:
    with pytest.raises(Invalid):
        once.checked_name(name)
    if name.isascii():
        assert make(control, name).json["error"]["code"] == "idempotency_key"
    assert "one" not in names(control)


def test_many_at_once_make_one(control: Alone) -> None:
    gate = threading.Barrier(8)

    def ask(_: int) -> Reply:
        gate.wait()
        return make(control, "a")

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(ask, range(8)))
    assert {reply.status for reply in replies} <= {201, 409}
    assert len({reply.text for reply in replies if reply.status == 201}) == 1
    assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status == 409)
    assert names(control).count("one") == 1


class Stepped(SystemClock):
    """The system's clock, some time later."""

    ahead = timedelta()

    def now(self) -> Any:
        return super().now() + self.ahead


def asked(control: Alone, clock: Clock) -> once.Once:
    bench = control.bench
    return once.Once(bench.store, clock, bench.master, control.admin_id, "a", b"x")


def test_a_claim_that_has_died_is_taken_over_and_a_slow_one_then_changes_nothing(control: Alone) -> None:
    clock, store = Stepped(), control.bench.store
    slow = asked(control, clock)
    claimed = slow._claim()
    with pytest.raises(once.UnderWay):
        asked(control, clock).run(lambda: (201, "early"))
    clock.ahead = timedelta(seconds=31)
    assert asked(control, clock).run(lambda: (201, '"second"')).body == '"second"'
    assert not isinstance(claimed, once.Kept)
    with pytest.raises(once.UnderWay):
        slow._done(lambda: (201, '"first"'), claimed)
    assert asked(control, clock).run(lambda: (201, '"third"')) == once.Kept(201, '"second"', again=True)
    assert once.clean(store, clock) == 0
    clock.ahead += timedelta(hours=24)
    assert once.clean(store, clock) == 1
    assert asked(control, clock).run(lambda: (201, '"later"')).body == '"later"'


def test_all_of_it_or_nothing(control: Alone) -> None:
    store = control.bench.store

    def half() -> tuple[int, str]:
        with store.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO settings_values (name, value, updated_at) VALUES ('x', '1', '2026')"
            )
        raise Denied("no")

    with pytest.raises(Denied):
        asked(control, SystemClock()).run(half)
    with store.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM settings_values").scalar_one() == 0
        assert connection.exec_driver_sql("SELECT count(*) FROM kept_answers").scalar_one() == 0


_DYING = """
import os, sys
from ultimate_lib.access import once
from ultimate_lib.clock import SystemClock
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store, kept_answers
url, user, where, material = sys.argv[1:]
store, clock = Store(url), SystemClock()
def work():
    if where == "before":
        os._exit(9)
    with store.begin() as connection:
        connection.exec_driver_sql("INSERT INTO sign_in_failures VALUES ('crash', 1, '2026-01-01 00:00:00')")
    if where == "after the change":
        os._exit(9)
    return 201, '"made"'
if where == "before the commit":
    kept_answers.keep = lambda *args, real=kept_answers.keep, **more: (real(*args, **more), os._exit(9))
once.Once(store, clock, MasterKey(bytes.fromhex(material)), user, "a", b"x").run(work)
os._exit(9)
"""


@pytest.mark.parametrize("where", ["before", "after the change", "before the commit", "after the commit"])
def test_a_process_that_dies_anywhere_leaves_one_thing_after_the_next_try(control: Alone, where: str) -> None:
    bench, material = control.bench, bytes(range(32))
    command = [sys.executable, "-c", _DYING, bench.settings.store_url, control.admin_id, where, material.hex()]
    assert subprocess.run(command, check=False, timeout=60).returncode == 9
    clock = Stepped()
    clock.ahead = timedelta(seconds=31)
    retry = once.Once(Store(bench.settings.store_url), clock, MasterKey(material), control.admin_id, "a", b"x")
    made: list[str] = []

    def work() -> tuple[int, str]:
        made.append("again")
        return 201, '"again"'

    kept = retry.run(work)
    with bench.store.begin() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM sign_in_failures").scalar_one()
    assert left + len(made) == 1, "made before the death, or by the next try, never both"
    assert kept.again is (where == "after the commit")

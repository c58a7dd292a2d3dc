"""Who waits for what, before whom, and who does not wait."""

from __future__ import annotations

from typing import Any

import pytest

from tests.limits.test_memory import ask, budget, counters, ended, record
from ultimate_lib.limits.counters import Hold, Refusal, Wait
from ultimate_lib.limits.memory import MemoryCounters
from ultimate_lib.limits.queues import MOST_OF_ONE
from ultimate_lib.pricing.ceiling import Ceiling
from ultimate_lib.records import CallRecord


def waiting(made: MemoryCounters, base: int, key: str = "k1", **members: Any) -> tuple[Wait, list[object]]:
    """Return a call that waits and the list into which its answer will come."""
    got: list[object] = []
    wait = made.admit(ask(record_of(key, **members), base=base))
    assert isinstance(wait, Wait)
    wait.ready = got.append
    return wait, got


def record_of(key: str, **members: Any) -> CallRecord:
    user = members.pop("user", "u1")
    made = record(**members)
    made.user_id = user
    made.key_id = key
    return made


@pytest.mark.parametrize("hold_wait_s", [0.0, None])
def test_a_call_that_needs_nothing_of_a_budget_is_not_behind_those_who_wait_for_it(hold_wait_s: float | None) -> None:
    made = counters(
        budget(1, 1000, subject="key", subject_id="k2", hold_wait_s=hold_wait_s),
        budget(2, 100, subject="user", subject_id="u1", unpriced="allow"),
    )
    assert isinstance(made.admit(ask(record_of("k1"), base=90)), Hold)
    waiting(made, 50)
    answer = made.admit(ask(record_of("k2"), price=lambda _, rule: Ceiling(0 if rule == "allow" else 10, 0)))
    assert isinstance(answer, Hold)
    assert answer.amounts == {"b1": 10}


def settle(made: MemoryCounters, hold: Hold | Wait | Refusal | None) -> None:
    assert isinstance(hold, Hold)
    made.settle(hold, ended(record(), 0), reached=False)


def test_who_waits_for_its_keys_budget_stands_before_nobody_under_a_common_one() -> None:
    made = counters(budget(1, 10**6), budget(2, 100, subject="key", subject_id="k1"))
    assert isinstance(made.admit(ask(record_of("k1"), base=90)), Hold)
    waiting(made, 50)
    assert all(isinstance(made.admit(ask(record_of("k2"), base=1)), Hold) for _ in range(5))
    assert isinstance(made.admit(ask(record_of("k1"), base=1)), Wait)  # behind the one of its key


def test_who_gets_its_turn_in_one_queue_waits_on_in_the_other_where_its_arrival_puts_it() -> None:
    made = counters(budget(1, 100), budget(2, 50, subject="key", subject_id="k1"))
    of_key = made.admit(ask(record_of("k1"), base=40))
    first, got_first = waiting(made, 20)
    common = made.admit(ask(record_of("k2"), base=55))
    second, got_second = waiting(made, 20, "k2")
    assert [len(made.accounts[name].queue) for name in ("b1", "b2")] == [1, 1]
    made.own(owning=False)
    settle(made, of_key)
    assert isinstance(common, Hold)
    common.wants[0].ledger.others = 40  # the common one is short of both now
    made.own(owning=True)
    assert [one.number for one in made.accounts["b1"].queue] == [first.number, second.number]
    assert not made.accounts["b2"].queue
    made.add({}, {})
    assert [len(got_first), len(got_second)] == [1, 1]


def test_who_waited_for_a_budget_that_is_deleted_is_let_in_once() -> None:
    """A call that held of it ends later, and finds nobody in its queue any more."""
    common = budget(2, 1000)
    made = counters(budget(1, 10), common)
    first = made.admit(ask(record_of("k1")))
    _, got = waiting(made, 10)
    made.set([common], ())
    assert [type(one) for one in got] == [Hold]
    assert isinstance(made.admit(ask(record_of("k2"), base=900)), Hold)
    waiting(made, 200, "k2")
    settle(made, first)
    assert (len(got), made.accounts["b2"].current.held) == (1, 910)


def test_a_key_and_a_user_have_a_part_of_the_places_alone() -> None:
    made = counters(budget(1, 100))
    assert isinstance(made.admit(ask(record_of("k0"), base=100)), Hold)
    waits = [waiting(made, 1, "k1", user=f"u{number}")[0] for number in range(MOST_OF_ONE)]
    refused = made.admit(ask(record_of("k1", user="other"), base=1))
    assert isinstance(refused, Refusal)
    assert "100 calls of this key wait already" in str(refused.error)
    waiting(made, 1, "k2", user="other")
    made.forget(waits[0])
    waiting(made, 1, "k1", user="other")
    for number in range(MOST_OF_ONE - 2):
        waiting(made, 1, f"x{number}", user="other")
    refused = made.admit(ask(record_of("y", user="other"), base=1))
    assert isinstance(refused, Refusal)
    assert "of this user wait already" in str(refused.error)

"""Who waits for what, before whom, and who does not wait."""

from __future__ import annotations

from typing import Any

import pytest

from tests.limits.test_memory import ask, budget, counters, record
from ultimate_lib.limits.counters import Hold, Need, Wait
from ultimate_lib.limits.memory import MemoryCounters
from ultimate_lib.records import CallRecord


def waiting(made: MemoryCounters, base: int, key: str = "k1", **members: Any) -> tuple[Wait, list[object]]:
    """Return a call that waits and the list into which its answer will come."""
    got: list[object] = []
    wait = made.admit(ask(record_of(key, **members), base=base))
    assert isinstance(wait, Wait)
    wait.ready = got.append
    return wait, got


def record_of(key: str, **members: Any) -> CallRecord:
    made = record(**members)
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
    answer = made.admit(ask(record_of("k2"), price=lambda _, rule: Need(0 if rule == "allow" else 10, 0)))
    assert isinstance(answer, Hold)
    assert answer.amounts == {"b1": 10}

"""The guard's rule: replayed it says of any calls what the live guard does about them, before and after a restart."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_server.gateway.guard import Guard
from proxy_server.gateway.surfaces import OPENAI, Surface
from tests.gateway.guarded import teach, usual
from ultimate_lib.baseline import ANOMALOUS
from ultimate_lib.clock import SteppedClock, SystemClock, to_datetime, to_us
from ultimate_lib.errors import Limited
from ultimate_lib.guard import rule as rules
from ultimate_lib.guard.rule import NEW, Anomaly, Call, Rule
from ultimate_lib.protocols import RequestFacts
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load

MINUTE_US = 60_000_000
RULE = Rule(anomalies=3, window_us=60 * MINUTE_US, cooldown_us=30 * MINUTE_US)
SURFACE = Surface(OPENAI, "chat", generates=True, bills=True)
FACTS = RequestFacts(model="m")


def after(*minutes: int, standing: rules.Standing = NEW) -> rules.Standing:
    for at in minutes:
        standing = rules.after(RULE, standing, Anomaly(f"c{at}", at * MINUTE_US - 1, at * MINUTE_US))
    return standing


def test_three_within_the_window_begin_a_cool_down_and_three_further_apart_do_not() -> None:
    assert after(1, 30).until_us == 0
    assert after(1, 30, 61).until_us == 91 * MINUTE_US
    assert after(1, 30, 62).until_us == 0
    assert after(1, 30, 62, 63).until_us == 93 * MINUTE_US
    begun = after(1, 2, 3)
    assert [rules.cooling(begun, at * MINUTE_US) for at in (2, 3, 32, 33)] == [False, True, True, False]


def test_a_cool_down_is_not_made_longer_by_calls_that_it_would_have_refused_or_that_were_under_way() -> None:
    begun = after(1, 2, 3)
    assert after(4, 5, 6, standing=begun) == begun
    late = Anomaly("late", 10 * MINUTE_US, 50 * MINUTE_US)  # began in it, ends after it
    assert rules.after(RULE, begun, late) == begun
    assert after(40, 41, standing=begun).until_us == begun.until_us
    assert after(40, 41, 42, standing=begun).until_us == 72 * MINUTE_US


def test_the_same_anomaly_twice_counts_once_also_when_its_cool_down_is_over() -> None:
    assert after(1, 2, 2, 1).until_us == 0
    begun = after(1, 2, 3)
    assert after(1, 2, 3, standing=begun) == begun


def test_a_lifted_cool_down_forgets_what_led_to_it() -> None:
    begun = after(1, 2, 3)
    lifted = rules.lifted(begun, 10 * MINUTE_US)
    assert not rules.cooling(lifted, 10 * MINUTE_US)
    assert after(2, 3, 9, standing=lifted) == lifted
    assert after(11, 12, standing=lifted).until_us == 10 * MINUTE_US
    assert after(11, 12, 13, standing=lifted).until_us == 43 * MINUTE_US
    assert rules.lifted(begun, MINUTE_US) == begun


def test_only_what_is_known_dear_and_anomalous_counts() -> None:
    call = Call("c", 0, 10, 60_000_000, ANOMALOUS)
    assert rules.counts(RULE, call, 10)
    for other in (
        call._replace(score=None), call._replace(score=ANOMALOUS - 0.001), call._replace(cost_nano_usd=None),
        call._replace(cost_nano_usd=50_000_000),
    ):  # fmt: skip
        assert not rules.counts(RULE, other, 10)
    assert not rules.counts(RULE, call, 11)
    assert not rules.counts(RULE, call, None)


def test_both_days_and_calls_make_a_key_and_model_ripe() -> None:
    days = 14 * 86_400_000_000
    assert rules.ripe_at(RULE, 5, None) is None
    assert rules.ripe_at(RULE, 5, 100) == 5 + days
    assert rules.ripe_at(RULE, 5, days + 100) == days + 100


# -- the live guard beside its replay ---------------------------------------------------------------


class Made(NamedTuple):
    """A call of a random sequence."""

    wait_ms: int
    took_ms: int
    dear: bool


class Live:
    """A gateway's guard without a gateway: calls are shown to it at their beginning and at their end."""

    def __init__(self, folder: Path, action: str, start_us: int) -> None:
        told = load(environ={}, overrides={"data.folder": str(folder), "guard.anomalies": 2})
        self.clock = SteppedClock(to_datetime(start_us))
        self.state: Any = SimpleNamespace(settings=told, clock=self.clock, book=None, slot=0)
        self.principal: Any = SimpleNamespace(guard=action, permissions=frozenset())
        self.guard = Guard(self.state)

    def restart(self) -> None:
        self.guard = Guard(self.state)

    def begins(self, record: CallRecord) -> bool:
        exchange: Any = SimpleNamespace(principal=self.principal, warning="")
        try:
            if not self.guard.idle:
                self.guard.enter(exchange, SURFACE, FACTS, SimpleNamespace(model="m"), record, "")  # type: ignore[arg-type] # a route
        except Limited:
            record.status = "blocked"
            return False
        return True

    def ends(self, record: CallRecord) -> None:
        record.status = "ok"
        exchange: Any = SimpleNamespace(principal=self.principal, warning="")
        if not self.guard.idle:
            self.guard.settle(exchange, record)


def run(folder: Path, action: str, made: list[Made], restarts: frozenset[int]) -> list[CallRecord]:
    """Let calls begin and end as they come; return their records."""
    start_us = to_us(SystemClock().now()) // 1000 * 1000
    teach(folder, usual("k", model="m"))
    live = Live(folder, action, start_us)
    moments, at = [], start_us
    for number, one in enumerate(made):
        at += one.wait_ms * 1000
        record = CallRecord(
            call_id=f"c{number:03d}", started_at=at, key_id="k", model_routed="m", operation="chat",
            duration_ms=one.took_ms, cost_nano_usd=600_000_000 if one.dear else 60_000,
        )  # fmt: skip
        moments += [(at, 1, number, record), (at + one.took_ms * 1000, 0, number, record)]
    records = {}
    let_in = set()
    for moment, begins, number, record in sorted(moments, key=lambda one: (one[0], one[1] if one[3] else 0, one[2])):
        live.clock.advance((moment - live.clock.now_us()) / 1e6)
        if begins:
            records[number] = record
            if live.begins(record):
                let_in.add(number)
        elif number in let_in:
            live.ends(record)
        if number in restarts:
            live.restart()
    return [records[number] for number in sorted(records)]


def test_what_ends_while_the_log_is_read_anew_is_not_forgotten(tmp_path: Path) -> None:
    """The first reading, and one after it was compacted, replace all that is known, a moment later than they read."""
    teach(tmp_path / "data", usual("k", model="m"))
    live = Live(tmp_path / "data", "block", to_us(SystemClock().now()))
    taken = threading.Event()

    def dear(number: int) -> CallRecord:
        return CallRecord(
            call_id=f"c{number}", started_at=live.clock.now_us(), key_id="k", model_routed="m", operation="chat",
            duration_ms=0, cost_nano_usd=600_000_000,
        )  # fmt: skip

    def late() -> Any:
        found = looked()
        live.ends(dear(2))
        return found

    def take(found: Any) -> None:
        took(found)
        taken.set()

    looked, took = live.guard._look, live.guard._take
    live.guard._look, live.guard._take = late, take  # type: ignore[method-assign]

    async def beat() -> None:
        keeping = asyncio.create_task(live.guard.keep_up())
        while not taken.is_set():
            await asyncio.sleep(0.01)
        keeping.cancel()

    live.ends(dear(1))
    asyncio.run(asyncio.wait_for(beat(), 20))
    assert not live.begins(dear(3))


CALLS = st.lists(
    st.builds(
        Made,
        wait_ms=st.integers(0, 20 * 60_000),
        took_ms=st.integers(1, 40 * 60_000),
        dear=st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(made=CALLS, restarts=st.frozensets(st.integers(0, 40), max_size=3))
def test_what_it_would_have_blocked_is_what_it_blocks(made: list[Made], restarts: frozenset[int]) -> None:
    """A guard that observes marks what one that blocks refuses, and the replay of its rows says the same."""
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        observed = run(Path(one) / "data", "observe", made, restarts)
        blocked = run(Path(other) / "data", "block", made, frozenset())
    assert [(row.anomaly_score or 0) >= ANOMALOUS for row in observed] == [one.dear for one in made]
    rule = Rule(anomalies=2)
    replayed = rules.cooldowns(
        rule,
        0,
        (
            Call(row.call_id, row.started_at, row.started_at + (row.duration_ms or 0) * 1000, row.cost_nano_usd,
                 row.anomaly_score)
            for row in reversed(observed)
        ),
    )  # fmt: skip
    would = {row.call_id for row in observed if any(s <= row.started_at < u for s, u in replayed)}
    assert {row.call_id for row in observed if row.anomaly_action == "block"} == would
    assert {row.call_id for row in blocked if row.status == "blocked"} == would

"""What the guard would have done, from rows in the lake: the rule's own cool-downs, and all calls within them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lake.random_calls import make_lake
from ultimate_lib.clock import to_us
from ultimate_lib.guard import rule as rules
from ultimate_lib.guard.events import Accepted
from ultimate_lib.guard.rule import Call, Rule
from ultimate_lib.lake import Lake, delta, schema
from ultimate_lib.lake.guarded import Past, past
from ultimate_lib.records import CallRecord

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
PAIR = ("key-1", "opus")
DEAR, USUAL = 600_000_000, 60_000


def call(minute: float, **members: object) -> CallRecord:
    """Return a call that began so many minutes after a moment of yesterday."""
    at = NOW - timedelta(days=1) + timedelta(minutes=minute)
    given = {
        "key_id": "key-1", "model_routed": "opus", "status": "ok", "operation": "chat", "duration_ms": 1000,
        "cost_nano_usd": USUAL, "anomaly_score": 1.0, "anomaly_action": "none", **members,
    }  # fmt: skip
    number = random.Random(repr((minute, members))).getrandbits(32)
    return CallRecord(call_id=f"call-{number:010d}", started_at=to_us(at), **given)  # type: ignore[arg-type]


def dear(minute: float, **members: object) -> CallRecord:
    return call(minute, **{"cost_nano_usd": DEAR, "anomaly_score": 9.0, "anomaly_action": "warn", **members})


def filled(folder: Path, calls: list[CallRecord]) -> Lake:
    lake = make_lake(folder, NOW)
    delta.append(lake, schema.frame_from_records(calls))
    return lake


def test_all_calls_within_a_cool_down_would_have_been_blocked_dear_or_not(tmp_path: Path) -> None:
    calls = [
        call(0), dear(1), dear(2), dear(3), call(4, anomaly_action="block"), dear(5, anomaly_action="block"),
        call(6, cost_nano_usd=None, anomaly_score=None), call(7, status="blocked", cost_nano_usd=None),
        call(40), call(8, key_id="key-2"), call(8, model_routed="haiku"),
    ]  # fmt: skip
    found = past(filled(tmp_path, calls), Rule(), {PAIR: 0}, NOW)
    assert found == {
        PAIR: Past(
            anomalies_week=4, anomalies=4, blocked=1, marked=2, marked_outside=0, cooldowns=1, would_block=3,
            would_block_nano_usd=DEAR + USUAL, would_block_unpriced=1,
        )
    }  # fmt: skip


def test_inputs_and_spend_are_counted_apart_from_the_replay(tmp_path: Path) -> None:
    calls = [
        dear(1), dear(2), dear(3), call(4, anomaly_action="block"), call(50, anomaly_action="block"),
        call(51, anomaly_action="block", anomaly_score=None), call(52, anomaly_action="warn"),
        call(53, anomaly_action="warn", key_id="key-2", anomaly_score=None),
    ]  # fmt: skip
    found = past(filled(tmp_path, calls), Rule(), {PAIR: 0}, NOW)
    one = found[PAIR]
    assert (one.would_block, one.marked, one.marked_outside, one.marked_rate) == (1, 3, 2, 1)
    assert found["key-2", "opus"] == Past(marked_rate=1)


def test_what_was_accepted_begins_no_cool_down(tmp_path: Path) -> None:
    calls = [dear(1), dear(2), dear(3), call(4, anomaly_action="block"), dear(100), dear(101), dear(102), call(103)]
    began = to_us(NOW - timedelta(days=1))
    accepted = {PAIR: Accepted(began, began + 10 * 60_000_000, "ann")}
    lake = filled(tmp_path, calls)
    assert past(lake, Rule(), {PAIR: 0}, NOW)[PAIR].would_block == 2
    told = past(lake, Rule(), {PAIR: 0}, NOW, accepted=accepted)[PAIR]
    assert (told.anomalies, told.cooldowns, told.would_block, told.marked, told.marked_outside) == (6, 1, 1, 1, 0)


def test_the_rule_of_today_is_what_is_replayed(tmp_path: Path) -> None:
    lake = filled(tmp_path, [dear(1), dear(2), dear(3), call(4), call(20)])
    assert past(lake, Rule(), {PAIR: 0}, NOW)[PAIR].would_block == 2
    assert past(lake, Rule(cooldown_us=10 * 60_000_000), {PAIR: 0}, NOW)[PAIR].would_block == 1
    assert past(lake, Rule(anomalies=2), {PAIR: 0}, NOW)[PAIR].would_block == 3
    assert past(lake, Rule(floor_nano_usd=DEAR), {PAIR: 0}, NOW)[PAIR].would_block == 0
    assert past(lake, Rule(), {PAIR: to_us(NOW)}, NOW)[PAIR].cooldowns == 0
    assert past(lake, Rule(), {}, NOW)[PAIR] == Past(anomalies_week=3, anomalies=3)


def test_anomalies_are_of_seven_and_of_thirty_days_and_of_those_who_are_asked_for(tmp_path: Path) -> None:
    day = 24 * 60
    calls = [dear(-2 * day), dear(-10 * day), dear(-40 * day), dear(1, key_id="key-2")]
    lake = filled(tmp_path, calls)
    found = past(lake, Rule(), {}, NOW)
    assert (found[PAIR].anomalies_week, found[PAIR].anomalies) == (1, 2)
    assert set(past(lake, Rule(), {}, NOW, {"key": ("key-2",)})) == {("key-2", "opus")}
    assert past(make_lake(tmp_path / "empty", NOW), Rule(), {}, NOW) == {}


@pytest.mark.parametrize("seed", range(5))
def test_random_rows_give_what_the_rule_says_of_each_key_and_model(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    calls = [
        (dear if dice.random() < 0.4 else call)(
            dice.uniform(0, 600),
            key_id=f"key-{dice.randrange(3)}",
            model_routed=dice.choice(["opus", "lab/opus:8k"]),
            duration_ms=dice.choice([None, 10, 60_000, 2_000_000]),
            status=dice.choice(["ok", "ok", "cut", "error", None]),
        )
        for _ in range(300)
    ]
    found = past(filled(tmp_path, calls), Rule(), dict.fromkeys({_pair(one) for one in calls}, 0), NOW)
    for pair in {_pair(one) for one in calls}:
        own = [one for one in calls if _pair(one) == pair]
        spans = rules.cooldowns(
            Rule(),
            0,
            [
                Call(one.call_id, one.started_at, one.started_at + (one.duration_ms or 0) * 1000, one.cost_nano_usd,
                     one.anomaly_score)
                for one in own
            ],
        )  # fmt: skip
        within = [one for one in own if any(since <= one.started_at < until for since, until in spans)]
        assert found[pair].cooldowns == len(spans) > 0
        assert found[pair].would_block == len(within) > 0
        assert found[pair].would_block_nano_usd == sum(one.cost_nano_usd or 0 for one in within)


def _pair(one: CallRecord) -> tuple[str, str]:
    assert one.key_id is not None
    assert one.model_routed is not None
    return one.key_id, one.model_routed

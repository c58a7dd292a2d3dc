"""Baselines from the lake: what `learn` says of the same calls, without those that must not be learnt from."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lake.random_calls import make_lake
from ultimate_lib.baseline import ANOMALOUS, Baseline, expected_high, learn
from ultimate_lib.clock import to_us
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake, baselines, delta, schema
from ultimate_lib.lake.baselines import baselines_of
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def call(number: int, at: datetime, **members: object) -> CallRecord:
    given = {"key_id": "key-1", "model_routed": "opus", "status": "ok", "operation": "chat", **members}
    return CallRecord(call_id=f"call-{number:08d}", started_at=to_us(at), **given)  # type: ignore[arg-type]


def history(count: int, seed: int = 1, **members: object) -> list[CallRecord]:
    dice = random.Random(seed)
    return [
        call(
            seed * 1_000_000 + number,
            NOW - timedelta(hours=count - number),
            input_tokens=round(dice.lognormvariate(7, 1)),
            cost_nano_usd=round(dice.lognormvariate(16, 0.8)),
            **members,
        )
        for number in range(count)
    ]


def filled(folder: Path, calls: list[CallRecord]) -> Lake:
    lake = make_lake(folder, NOW)
    delta.append(lake, schema.frame_from_records(calls))
    return lake


def dollars(calls: list[CallRecord]) -> list[float]:
    return [one.cost_nano_usd / 1e9 for one in calls if one.cost_nano_usd]


def same(found: Baseline | None, meant: Baseline | None) -> bool:
    assert found is not None
    assert meant is not None
    return found == pytest.approx(meant, abs=0.01) and expected_high(found) == pytest.approx(
        expected_high(meant), rel=0.01
    )


def test_what_is_learnt_is_what_learn_says_of_the_same_calls(tmp_path: Path) -> None:
    mine, others = history(700), history(300, seed=2, key_id="key-2", model_routed="haiku")
    told = baselines_of(filled(tmp_path, mine + others), NOW)
    assert [(one.key_id, one.model, one.priced_calls, one.calls) for one in told] == [
        ("key-1", "opus", 700, 700),
        ("key-2", "haiku", 300, 300),
    ]
    first_s = mine[0].started_at / 1e6
    assert same(told[0].cost, learn(dollars(mine), first_s))
    assert same(told[0].tokens, learn([float(one.input_tokens or 0) for one in mine], first_s))
    assert (told[0].first_us, told[0].last_us) == (mine[0].started_at, mine[-1].started_at)
    assert (told[0].enough_us, told[1].enough_us) == (mine[499].started_at, None)


def test_the_journals_tail_is_learnt_from_too(tmp_path: Path) -> None:
    mine = history(60)
    lake = make_lake(tmp_path, NOW)
    writer = JournalWriter(lake.journal_dir, "0", Record(), lake.clock)
    for one in mine:
        writer.call(one)
    told = baselines_of(lake, NOW)
    writer.close()
    assert same(told[0].cost, learn(dollars(mine), mine[0].started_at / 1e6))


def test_calls_that_must_not_be_learnt_from_are_left_out(tmp_path: Path) -> None:
    at, dear = NOW - timedelta(hours=1), {"cost_nano_usd": 10**12, "input_tokens": 10**7}
    bad = [
        call(1, at, anomaly_action="warn", **dear),
        call(2, at, anomaly_action="block", **dear),
        call(3, at, anomaly_action="none", anomaly_score=ANOMALOUS, **dear),
        call(4, at, operation="count_tokens", **dear),
        call(5, at, **(dear | {"key_id": None})),
        call(6, at, **(dear | {"model_routed": None})),
        call(7, NOW - timedelta(days=31), **dear),
        call(8, NOW + timedelta(seconds=1), **dear),
        call(9, at, status="refused"),
        call(10, at, cost_nano_usd=0, input_tokens=0),
    ]
    mine = [*history(100), call(11, at, anomaly_action="none", anomaly_score=1.0, cost_nano_usd=5_000_000)]
    (told,) = baselines_of(filled(tmp_path, mine + bad), NOW)
    assert (told.priced_calls, told.calls) == (101, 100)
    assert same(told.cost, learn(dollars(mine), mine[0].started_at / 1e6))


def test_calls_told_of_for_their_keys_spend_alone_are_learnt_from(tmp_path: Path) -> None:
    mine = history(100, anomaly_action="warn", anomaly_score=1.0)
    (told,) = baselines_of(filled(tmp_path, mine), NOW)
    assert told.priced_calls == 100


def test_of_very_many_calls_the_newest_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_CALLS", 150)
    mine = history(400)
    (told,) = baselines_of(filled(tmp_path, mine), NOW, enough=10)
    assert told.priced_calls == 400
    assert told.enough_us == mine[9].started_at
    assert told.cost is not None
    assert told.cost.n == 150
    assert same(told.cost, learn(dollars(mine[-150:]), mine[0].started_at / 1e6))


def test_too_few_calls_are_told_without_a_baseline(tmp_path: Path) -> None:
    (told,) = baselines_of(filled(tmp_path, history(49)), NOW)
    assert (told.priced_calls, told.cost, told.tokens) == (49, None, None)
    assert baselines_of(make_lake(tmp_path / "empty", NOW), NOW) == []


def test_a_question_of_one_key_and_model_is_about_no_other(tmp_path: Path) -> None:
    lake = filled(tmp_path, history(60) + history(60, seed=2, key_id="key-2"))
    told = baselines_of(lake, NOW, where={"key": ("key-2",), "model": ("opus",)})
    assert [one.key_id for one in told] == ["key-2"]
    assert baselines_of(lake, NOW, where={"model": ("haiku",)}) == []


def test_calls_without_a_price_still_tell_their_input(tmp_path: Path) -> None:
    calls = [call(n, NOW - timedelta(minutes=n + 1), input_tokens=1000 + n) for n in range(60)]
    (told,) = baselines_of(filled(tmp_path, calls), NOW)
    assert (told.priced_calls, told.calls, told.cost, told.enough_us) == (0, 60, None, None)
    assert told.tokens is not None

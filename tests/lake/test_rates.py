"""How quickly keys usually spend: by the hour of their week, from the calls that were usual."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.lake.random_calls import make_lake
from ultimate_lib.clock import to_us
from ultimate_lib.guard.known import WEEK_H
from ultimate_lib.lake import delta, schema
from ultimate_lib.lake.baselines import Before
from ultimate_lib.lake.rates import rates_of
from ultimate_lib.records import CallRecord

NOW = datetime(2026, 3, 30, tzinfo=UTC)  # a Monday


def call(at: datetime, usd: float, dice: random.Random, **members: object) -> CallRecord:
    given = {"key_id": "k", "model_routed": "m", "status": "ok", "operation": "chat", **members}
    return CallRecord(
        call_id=f"{to_us(at)}-{dice.getrandbits(40)}",
        started_at=to_us(at),
        cost_nano_usd=round(usd * 1e9),
        **given,  # type: ignore[arg-type]
    )


def office(days: int) -> list[CallRecord]:
    """Return ten calls an hour from 8 to 17 on working days, about a dollar in all, and one a night hour."""
    dice = random.Random(3)
    calls = []
    for hour in range(days * 24):
        at = NOW - timedelta(hours=hour + 1)
        busy = at.weekday() < 5 and 8 <= at.hour < 18
        calls += [
            call(at + timedelta(minutes=5 * number), 0.1 * dice.lognormvariate(0, 0.3), dice)
            for number in range(10 if busy else 1)
        ]
    return calls


def test_an_hour_is_judged_by_its_hour_of_the_week(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, NOW)
    delta.append(lake, schema.frame_from_records(office(30)))
    (rate,) = rates_of(lake, NOW)
    assert len(rate.shares) == WEEK_H
    noon, night, sunday = 2 * 24 + 12, 2 * 24 + 2, 6 * 24 + 12  # of Wednesday, and of Sunday
    assert rate.shares[noon] > 2
    assert max(rate.shares[night], rate.shares[sunday]) < 0.7
    minute, hour, day = rate.usual_usd
    assert minute is not None
    assert hour is not None
    assert day is not None
    assert 1.0 < hour * rate.shares[noon] < 20
    assert hour * rate.shares[night] < hour * rate.shares[noon] / 3
    assert 11 < day < 100


def test_too_little_is_told_as_unknown_and_anomalous_calls_do_not_count(tmp_path: Path) -> None:
    dice = random.Random(1)
    few = [call(NOW - timedelta(minutes=one), 0.1, dice, key_id="few") for one in range(1, 20)]
    usual = office(20)
    lake = make_lake(tmp_path, NOW)
    delta.append(lake, schema.frame_from_records([*few, *usual]))
    ripe = {("k", "m"): Before(ripe_us=to_us(NOW - timedelta(days=2)))}
    before = {one.key_id: one for one in rates_of(lake, NOW, before=ripe)}
    assert before["few"].usual_usd == (None, None, None)
    wild = [
        call(NOW - timedelta(minutes=one), 500.0, dice, anomaly_score=20.0, anomaly_action="warn")
        for one in range(1, 99)
    ]
    delta.append(lake, schema.frame_from_records(wild))
    assert {one.key_id: one for one in rates_of(lake, NOW, before=ripe)} == before
    assert {one.key_id: one for one in rates_of(lake, NOW)} != before  # before it is ripe all are learnt from
    imported = [
        call(NOW - timedelta(minutes=one), 500.0, dice, anomaly_score=None, source="import") for one in range(1, 99)
    ]
    delta.append(lake, schema.frame_from_records(imported))
    assert {one.key_id: one for one in rates_of(lake, NOW, before=ripe)} == before


def test_a_lasting_rise_is_learnt_though_each_call_of_it_was_marked(tmp_path: Path) -> None:
    usual = office(20)
    for one in usual[: len(usual) // 2]:  # the newer half: ten times as dear an hour, marked for that
        one.cost_nano_usd = (one.cost_nano_usd or 0) * 10
        one.anomaly_score, one.anomaly_action = 1.0, "block"
    lake = make_lake(tmp_path, NOW)
    delta.append(lake, schema.frame_from_records(usual))
    (rate,) = rates_of(lake, NOW, before={("k", "m"): Before(ripe_us=0)})
    day = rate.usual_usd[2]
    assert day is not None
    assert day > 100  # it is about 110 dollars a day now
    assert rates_of(make_lake(tmp_path / "empty", NOW), NOW) == []

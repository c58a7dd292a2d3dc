"""What is usual once somebody has accepted anomalous calls: the new level, of that key and model alone."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from tests.lake.test_baselines import NOW, call, dollars, filled, history, same
from ultimate_lib.baseline import anomalous, at_least, expected_high, learn, score
from ultimate_lib.clock import to_us
from ultimate_lib.guard.events import Accepted
from ultimate_lib.lake.accepted import levels, with_levels
from ultimate_lib.lake.baselines import baselines_of
from ultimate_lib.lake.rates import rates_of
from ultimate_lib.records import CallRecord

PAIR = ("key-1", "opus")
FOUND = timedelta(hours=12)  # how long ago the rise began


def dear(
    count: int, *, until: timedelta = timedelta(hours=1), factor: float = 30.0, seed: int = 9
) -> list[CallRecord]:
    """Return anomalous calls of a higher level, from `FOUND` on until so long ago."""
    dice = random.Random(seed)
    step = (FOUND - until) / count
    return [
        call(
            seed * 10_000_000 + number, NOW - FOUND + step * (number + 1), anomaly_score=9.0, anomaly_action="warn",
            input_tokens=1000, cost_nano_usd=round(factor * dice.lognormvariate(16, 0.3)),
        )
        for number in range(count)
    ]  # fmt: skip


def accepted(
    since: timedelta = timedelta(days=7), at: timedelta = timedelta(minutes=30)
) -> dict[tuple[str, str], Accepted]:
    return {PAIR: Accepted(to_us(NOW - since), to_us(NOW - at), "ann")}


def test_fifty_calls_since_then_are_learnt_from_alone(tmp_path: Path) -> None:
    risen = dear(60)
    lake = filled(tmp_path, history(700) + risen)
    (level,) = levels(lake, NOW, accepted(FOUND)).values()
    assert level.alone
    recent = [one for one in history(700) if one.started_at >= to_us(NOW - FOUND)]
    assert same(level.usual.cost, learn(dollars([*recent, *risen]), 0.0)._replace(since_s=level.usual.cost.since_s))  # type: ignore[union-attr] # there are enough
    further = dear(1, factor=900.0)[0].cost_nano_usd
    assert level.usual.cost is not None
    assert anomalous(level.usual.cost, (further or 0) / 1e9)
    assert not any(anomalous(level.usual.cost, one) for one in dollars(dear(200, seed=4)))


@pytest.mark.parametrize("spread", [0.05, 0.8])
@pytest.mark.parametrize("since", [timedelta(days=7), FOUND])
def test_three_calls_that_were_let_through_are_enough_for_their_level(
    tmp_path: Path, spread: float, since: timedelta
) -> None:
    dice = random.Random(5)
    before = history(700)
    for one in before:
        one.cost_nano_usd = round(dice.lognormvariate(16, spread))
    lake = filled(tmp_path, before + dear(3))
    (level,) = levels(lake, NOW, accepted(since)).values()
    assert level.alone == (since == timedelta(days=7))
    assert level.usual.cost is not None
    assert not any(anomalous(level.usual.cost, one) for one in dollars(dear(200, seed=4)))
    assert all(anomalous(level.usual.cost, 30 * one) for one in dollars(dear(200, seed=4)))


def test_anomalous_calls_before_and_after_the_acceptance_are_no_part_of_it(tmp_path: Path) -> None:
    lake = filled(tmp_path, history(700) + dear(40))
    (none,) = levels(lake, NOW, accepted(timedelta(minutes=50), timedelta(minutes=50))).values()
    told = baselines_of(lake, NOW)[0]
    assert same(none.usual.cost, told.cost)
    (half,) = levels(lake, NOW, accepted(at=timedelta(hours=6, minutes=30))).values()
    assert 700 < half.usual.priced_calls < 740


def test_of_no_other_key_and_model_anything_differs(tmp_path: Path) -> None:
    others = [*history(300, seed=2, key_id="key-2"), *history(300, seed=3, model_routed="haiku")]
    bad = [call(5, NOW - FOUND, key_id="key-2", cost_nano_usd=10**12, anomaly_score=9.0, anomaly_action="warn")]
    lake = filled(tmp_path, history(700) + dear(60) + others + bad)
    plain = {(one.key_id, one.model): one for one in baselines_of(lake, NOW)}
    after = {
        (one.key_id, one.model): one for one in with_levels(baselines_of(lake, NOW), levels(lake, NOW, accepted()))
    }
    assert plain.keys() == after.keys()
    assert {pair for pair in plain if plain[pair] != after[pair]} == {PAIR}
    before, now = ({one.key_id: one for one in rates_of(lake, NOW, told)} for told in (None, accepted()))
    assert {key for key in before if before[key] != now[key]} == {"key-1"}
    assert levels(lake, NOW, {}) == {}
    assert levels(lake, NOW, {("key-9", "opus"): accepted()[PAIR]}) == {}


def test_a_key_whose_every_call_was_anomalous_has_a_level(tmp_path: Path) -> None:
    lake = filled(tmp_path, dear(60))
    assert baselines_of(lake, NOW) == []
    (one,) = with_levels([], levels(lake, NOW, accepted()))
    assert (one.key_id, one.model, one.priced_calls) == (*PAIR, 60)
    assert one.cost is not None


def test_a_baseline_that_is_moved_keeps_its_shape() -> None:
    dice = random.Random(1)
    made = learn([dice.lognormvariate(0, 0.5) for _ in range(500)], 0.0)
    assert made is not None
    high = expected_high(made)
    assert at_least(made, high / 2) is made
    moved = at_least(made, 10 * high)
    assert expected_high(moved) == pytest.approx(10 * high)
    assert all(score(moved, 10 * one) == pytest.approx(score(made, one)) for one in (0.3, 1.0, 3.0, 50.0))

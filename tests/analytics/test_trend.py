"""Trends: planted slopes are found, noise is none, levels that change are told apart from slopes."""

from __future__ import annotations

import numpy as np
import pytest

from ultimate_lib.analytics.trend import trend
from ultimate_lib.errors import NotEnoughData

WEEK = np.array([1, 1, 1.1, 1, 0.9, 0.3, 0.25])


def noise(seed: int, count: int, near: float = 0.0) -> np.ndarray:
    """Return an AR(1) of deviation 1."""
    dice = np.random.default_rng(seed).standard_normal(count + 50)
    found = np.zeros(count + 50)
    for at in range(1, count + 50):
        found[at] = near * found[at - 1] + dice[at]
    return found[50:] * np.sqrt(1 - near**2)


def weekly(count: int) -> np.ndarray:
    return WEEK[np.arange(count) % 7]


def test_a_planted_slope_is_found_beside_the_week() -> None:
    hits = cut = 0
    for seed in range(20):
        values = (100 + 0.5 * np.arange(120)) * weekly(120) * np.exp(0.1 * noise(seed, 120))
        found = trend(values, per_day=1)
        assert found.there
        assert found.cycle == 7
        if found.changes:
            cut += 1
            continue
        assert found.slope == pytest.approx(0.5 * WEEK.mean(), rel=0.25)
        hits += found.lower <= 0.5 * WEEK.mean() <= found.upper
    assert cut <= 2
    assert hits >= 15  # of 18 or more
    falling = trend((200 - 0.5 * np.arange(120)) * weekly(120), per_day=1)
    assert falling.there
    assert falling.slope < 0


@pytest.mark.parametrize("near", [0.0, 0.6])
def test_noise_has_no_trend_also_where_neighbours_resemble_each_other(near: float) -> None:
    found = [trend(100 * weekly(90) * np.exp(0.2 * noise(seed, 90, near)), per_day=1) for seed in range(40)]
    assert sum(one.there for one in found) <= 8  # uncorrected, some 16 of 40 at 0.6
    assert sum(bool(one.changes) for one in found) <= 6
    for one in found:
        assert one.there == (one.lower > 0 or one.upper < 0)


def test_a_step_is_a_change_of_level_and_no_trend() -> None:
    values = 100 * weekly(120) * np.exp(0.1 * noise(3, 120))
    values[60:] *= 2.5
    found = trend(values, per_day=1)
    [change] = found.changes
    assert abs(change.step - 60) <= 1
    assert change.after / change.before == pytest.approx(2.5, rel=0.2)
    assert not found.there


def test_hours_lose_their_week_and_keep_their_slope() -> None:
    hours = np.arange(42 * 24)
    values = (5 + 0.004 * hours) * (2 + np.sin(hours * 2 * np.pi / 24)) * np.exp(0.1 * noise(1, len(hours)))
    found = trend(values, per_day=24)
    assert (found.there, found.cycle) == (True, 168)
    assert found.slope == pytest.approx(0.008, rel=0.15)
    assert np.corrcoef(found.deseasonalised, np.sin(hours * 2 * np.pi / 24))[0, 1] == pytest.approx(0, abs=0.1)


def test_one_giant_and_gaps_turn_nothing() -> None:
    values = (100 + np.arange(60.0)) * np.exp(0.05 * noise(2, 60))
    values[30] = 1e9
    values[[5, 6, 7, 40]] = np.nan
    found = trend(values, per_day=1)
    assert found.there
    assert found.slope == pytest.approx(1.0, rel=0.3)
    assert np.isnan(found.deseasonalised[[5, 40]]).all()
    assert np.isfinite(found.fitted).all()


@pytest.mark.parametrize(
    "values", [np.zeros(40), np.full(40, 7.0), np.r_[np.zeros(39), 5.0], np.r_[5.0, np.full(30, np.nan), np.zeros(9)]]
)
def test_what_stands_still_has_no_trend_and_no_error(values: np.ndarray) -> None:
    found = trend(values, per_day=1)
    assert (found.there, found.slope, found.changes) == (False, 0.0, ())


def test_few_steps_are_refused_and_say_how_many_are_needed() -> None:
    for values in (np.arange(3.0), np.full(50, np.nan), np.array([])):
        with pytest.raises(NotEnoughData, match="too few") as told:
            trend(values, per_day=1)
        assert "10 are needed" in told.value.hint
    assert trend(np.arange(1.0, 12.0), per_day=1).there  # no cycle is known, and none taken out


@pytest.mark.parametrize("days", [10, 12, 14, 16, 20])
def test_hours_of_a_plain_week_have_no_trend_wherever_they_begin(days: int) -> None:
    hour = np.where((np.arange(24) < 8) | (np.arange(24) >= 18), 1.0, 10.0)
    told = 0
    for place in range(7):
        week = np.where((place + np.arange(days)) % 7 >= 5, 0.1, 1.0)
        values = np.outer(week, hour).ravel() * np.exp(0.2 * noise(place, days * 24))
        found = trend(values, per_day=24, place=place * 24)
        assert found.by_days
        assert found.lower <= found.slope <= found.upper
        told += found.there or bool(found.changes)
    assert told <= 1  # of seven


def test_hours_that_double_each_week_have_a_trend_and_those_of_nine_days_are_refused() -> None:
    hours = np.arange(18 * 24)
    values = 5 * 2 ** (hours / (7 * 24)) * np.exp(0.1 * noise(2, len(hours)))
    found = trend(values, per_day=24, place=5)  # begins at five
    assert found.there
    assert 5 < found.slope * 7 * 24 < 15
    with pytest.raises(NotEnoughData, match="9 whole days"):
        trend(values[: 9 * 24], per_day=24)


def test_growth_by_the_same_amount_each_day_is_a_trend_and_no_steps() -> None:
    covered = 0
    for seed in range(15):
        found = trend(np.linspace(10, 30, 90) + noise(seed, 90), per_day=1)
        assert found.there
        assert not found.changes
        covered += found.lower <= 20 / 89 <= found.upper
    assert covered >= 12

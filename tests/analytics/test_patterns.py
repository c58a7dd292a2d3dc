"""Cycles that are there are found, shuffled copies have none, and changes of level are dated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ultimate_lib.analytics.patterns import SURE, cycle, patterns
from ultimate_lib.errors import NotEnoughData

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]


def hours(days: int, *, seed: int = 0, noise: float = 0.3, weekend: float = 0.4) -> Floats:
    """Return hours from a Monday on that peak in the afternoon and are fewer on weekends."""
    time = np.arange(24 * days)
    shape = 10 * np.exp(-(((time % 24) - 14) ** 2) / 18) + 0.5
    shape = shape * np.where((time // 24) % 7 >= 5, weekend, 1.0)
    made: Floats = shape * np.random.default_rng(seed).lognormal(0, noise, len(time))
    return made


def test_hours_and_weekdays_are_told() -> None:
    found = patterns(hours(28), 0)
    assert found.daily.there
    assert found.weekly is not None
    assert found.weekly.there
    assert set(range(12, 17)) <= set(found.peak_hours) <= set(range(10, 19))
    assert {0, 1, 2, 3, 22, 23} <= set(found.quiet_hours)
    assert found.weekend_mean == pytest.approx(0.4 * (found.weekday_mean or 0), rel=0.15)
    assert found.changes == ()
    shifted = patterns(hours(28 + 2)[48:], 2)  # the same from a Wednesday on
    assert shifted.weekly is not None
    assert shifted.weekly.means == pytest.approx(found.weekly.means, rel=0.3)


def test_of_a_hundred_series_at_least_ninety_nine_are_told_from_their_shuffled_copies() -> None:
    right = 0
    for seed in range(100):
        series = hours(14, seed=seed, noise=0.8)
        shuffled = np.random.default_rng(seed + 1000).permutation(series)
        right += patterns(series, 0).daily.there and not patterns(shuffled, 0).daily.there
    assert right >= 99


def test_chance_is_taken_for_a_cycle_as_rarely_as_the_test_says() -> None:
    false = 0
    for seed in range(300):
        steps = np.random.default_rng(seed).standard_normal(24 * 14)
        walk = np.empty_like(steps)  # hours that follow each other, without a day
        walk[0] = steps[0]
        for at in range(1, len(steps)):
            walk[at] = 0.8 * walk[at - 1] + steps[at]
        false += cycle(walk.reshape(14, 24)).p <= SURE
    assert false <= 10


def test_strength_is_the_share_of_what_varies() -> None:
    dice = np.random.default_rng(1)
    shape = np.sin(2 * np.pi * np.arange(24) / 24)
    even = cycle(shape + np.sqrt(0.5) * dice.standard_normal((200, 24)))
    assert even.strength == pytest.approx(0.5, abs=0.05)
    assert cycle(dice.standard_normal((200, 24))).strength < 0.02
    assert cycle(np.tile(shape, (5, 1))).strength == pytest.approx(1)


def test_a_change_of_level_is_dated() -> None:
    series = hours(42, noise=0.2)
    series[24 * 25 :] *= 2
    found = patterns(series, 0)
    [change] = found.changes
    assert abs(change.day - 25) <= 1
    assert change.ratio == pytest.approx(2, rel=0.2)


def test_a_constant_has_no_pattern_and_gaps_are_no_zeros() -> None:
    found = patterns(np.full(24 * 28, 3.0), 0)
    assert not found.daily.there
    assert (found.peak_hours, found.quiet_hours, found.changes) == ((), (), ())
    gaps = hours(28)
    gaps[24 * 3 : 24 * 4] = np.nan
    assert patterns(gaps, 0).weekday_mean == pytest.approx(patterns(hours(28), 0).weekday_mean, rel=0.1)


@pytest.mark.parametrize("series", [np.ones(24 * 2), np.zeros(24 * 30), np.full(24 * 30, np.nan)])
def test_too_little_is_said(series: Floats) -> None:
    with pytest.raises(NotEnoughData):
        patterns(series, 0)

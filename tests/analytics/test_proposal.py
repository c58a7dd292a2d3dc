"""Alerts proposed: the threshold gives as many alerts as are wanted, and the replay is what one counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ultimate_lib.analytics.proposal import firings, propose, replayed, severity

PATHS = np.random.default_rng(0).lognormal(3, 1, (500, 30))


@pytest.mark.parametrize("wanted", [0.3, 2.0, 8.0])
def test_the_futures_have_as_many_alerts_as_are_wanted(wanted: float) -> None:
    found = propose(PATHS, wanted, holds=False)
    assert found.expected == pytest.approx((found.threshold < PATHS).sum() / 500)
    assert 0.9 * wanted - 0.05 <= found.expected <= wanted


def test_windows_in_a_row_are_one_alert_where_it_holds() -> None:
    paths = np.zeros((10, 720))
    paths[:, 100:110] = 5.0  # ten hours in a row
    paths[:, 300] = 3.0
    found = propose(paths, 1.0, holds=True)
    assert (found.threshold, found.expected) == (3.0, 1.0)
    assert propose(paths, 2.0, holds=True).expected == 2.0
    assert propose(paths, 1.0, holds=False).threshold == 5.0  # ten alerts are more than one


def test_thresholds_are_round_numbers_and_never_below_zero() -> None:
    assert propose(np.full((9, 30), 123.456), 2.0, holds=False).threshold == 124.0
    assert propose(np.full((9, 30), 0.0123456), 2.0, holds=False).threshold == 0.0124
    assert propose(np.full((9, 30), 1.2), 2.0, holds=False, whole=True).threshold == 2.0
    assert propose(np.full((9, 30), -4.0), 2.0, holds=False).threshold == 0.0


def test_the_replay_by_hand() -> None:
    nan = float("nan")
    values = np.array([1, 5, 6, nan, 7, 2, 9, 4, 4.0])
    assert firings(values, 4.0, holds=False) == [1, 2, 4, 6]
    assert firings(values, 4.0, holds=True) == [1, 6]  # what is not known ends no alert
    assert firings(values, 9.0, holds=True) == []
    assert firings(np.array([]), 1.0, holds=True) == []
    assert firings(np.array([nan, nan]), 1.0, holds=True) == []


def test_the_rarer_the_graver() -> None:
    assert [severity(one) for one in (0.0, 0.5, 2.0, 8.0, 8.1)] == ["critical", "critical", "high", "medium", "low"]


def test_the_lowest_threshold_with_which_a_history_fires_seldom_enough() -> None:
    nan = float("nan")
    values = np.array([1, 5, 6, nan, 7, 2, 9, 4, 4.0])
    assert replayed(values, 2, holds=False) == 6  # of 7 and 9
    assert replayed(values, 0.3, holds=False) == 9
    assert replayed(values, 1, holds=True) == 7  # 7 and 9 are two
    assert replayed(values, 99, holds=False) == 0
    assert replayed(np.array([nan]), 2, holds=False) == 0

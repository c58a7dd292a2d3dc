"""An alert that fires about as often as is wanted: the threshold from the forecast, its firings from the history."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Severity = Literal["critical", "high", "medium", "low"]
MONTH_DAYS = 30
_RAREST, _TRIED = 1e-5, 400
_DIGITS = 3
_SEVERITY: tuple[tuple[float, Severity], ...] = ((0.5, "critical"), (2.0, "high"), (8.0, "medium"))


class Proposal(NamedTuple):
    """Above what to alert, and how many alerts the futures have in a month on average."""

    threshold: float
    expected: float


def propose(paths: Floats, wanted: float, *, holds: bool, whole: bool = False) -> Proposal:
    """Return the lowest threshold with at most `wanted` alerts in a month of futures (paths, steps of 30 days).

    `holds`: windows in a row that lie above are one alert. `whole`: what is measured comes in whole numbers. The
    threshold is rounded up to three digits.
    """
    tried = np.unique(np.quantile(paths, 1 - np.geomspace(_RAREST, 1, _TRIED)))[::-1]
    best = float(tried[0])
    for threshold in tried:
        if _expected(paths, float(threshold), holds=holds) > wanted:
            break
        best = float(threshold)
    return of(paths, best, holds=holds, whole=whole)


def of(paths: Floats, threshold: float, *, holds: bool, whole: bool = False) -> Proposal:
    """Return a threshold, rounded up, with the alerts that the futures have of it."""
    best = _round_up(max(threshold, 0.0), whole=whole)
    return Proposal(best, _expected(paths, best, holds=holds))


def replayed(values: Floats, most: float, *, holds: bool) -> float:
    """Return the lowest threshold with which a history (NaN is unknown) fires at most so many times."""
    tried = np.unique(np.maximum(values[~np.isnan(values)], 0.0))[::-1]
    best = float(tried[0]) if len(tried) else 0.0
    for threshold in [*tried, 0.0]:
        if len(firings(values, float(threshold), holds=holds)) > most:
            break
        best = float(threshold)
    return best


def firings(values: Floats, threshold: float, *, holds: bool) -> list[int]:
    """Return the steps at which an alert fires: each that lies above, or with `holds` the first of those in a row.

    A step that is not known (NaN) fires nothing and ends nothing.
    """
    known = np.flatnonzero(~np.isnan(values))
    above = values[known] > threshold
    starts = above.copy()
    if holds:
        starts[1:] &= ~above[:-1]
    return [int(at) for at in known[starts]]


def severity(expected: float) -> Severity:
    """Return the severity that goes with so many alerts a month: the rarer, the graver."""
    return next((name for most, name in _SEVERITY if expected <= most), "low")


def _expected(paths: Floats, threshold: float, *, holds: bool) -> float:
    above = paths > threshold
    if holds:
        above[:, 1:] &= ~(paths[:, :-1] > threshold)
    return float(above.sum(axis=1).mean())


def _round_up(value: float, *, whole: bool) -> float:
    if value <= 0:
        return 0.0
    power = math.floor(math.log10(value)) - _DIGITS + 1
    power = max(power, 0) if whole else power
    rounded = math.ceil(round(value / 10.0**power, 9)) * 10.0**power
    return round(rounded, max(-power, 0))

"""What a forecast means for its reader: the total and its spread, the risk, and when a budget would be spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

Risk = Literal["low", "medium", "high"]
WARNING, CRITICAL = 0.2, 0.6
"""Probabilities that a budget is exceeded, above which the risk is medium and high."""
_MEDIUM_PERCENTILE, _HIGH_PERCENTILE = 90, 99
_FEWEST_WINDOWS = 10


class Total(NamedTuple):
    """A total over all steps, with its 80 % and 95 % interval: from whole paths, never a sum of single bounds."""

    value: float
    lower_80: float
    upper_80: float
    lower_95: float
    upper_95: float


class Thresholds(NamedTuple):
    """What a period's total is expected to be, and what is above 90 % and 99 % of what may come."""

    expected: float
    warning: float
    critical: float


class Exhaustion(NamedTuple):
    """Whether and when an amount is used up within the steps that are looked at.

    `probability` is the share of futures in which it is; `likely`, `early` and `late` are steps (0 is the first; the
    middle of those futures, and the interval that holds 80 % of them), None when there are none.
    """

    probability: float
    likely: int | None
    early: int | None
    late: int | None


def total(point: Floats, paths: Floats) -> Total:
    """Return the total of a forecast (steps) with paths (paths, steps)."""
    sums = paths.sum(axis=1)
    low95, low80, high80, high95 = (float(edge) for edge in np.quantile(sums, [0.025, 0.1, 0.9, 0.975]))
    return Total(float(point.sum()), low80, high80, low95, high95)


def thresholds(so_far: float, point: Floats, paths: Floats) -> Thresholds:
    """Return the thresholds of a period of which `so_far` has been, and `point` (steps) with its paths is to come."""
    warning, critical = (float(edge) for edge in np.quantile(paths.sum(axis=1), [0.9, 0.99]))
    return Thresholds(so_far + float(point.sum()), so_far + warning, so_far + critical)


def exhaustion(paths: Floats, left: float) -> Exhaustion:
    """Return when `left` is used up along `paths` (paths, steps), which are what is used in each step."""
    if left <= 0:
        return Exhaustion(1.0, 0, 0, 0)
    over = np.cumsum(paths, axis=1) > left
    ever = over[:, -1]
    if not ever.any():
        return Exhaustion(0.0, None, None, None)
    when = np.argmax(over[ever], axis=1)
    early, likely, late = (round(float(step)) for step in np.quantile(when, [0.1, 0.5, 0.9]))
    return Exhaustion(float(ever.mean()), likely, early, late)


def risk_of(probability: float) -> Risk:
    """Return the risk that goes with the probability of exceeding a budget."""
    return "high" if probability > CRITICAL else "medium" if probability > WARNING else "low"


def risk_by_history(history: Floats, expected: float, steps: int) -> Risk | None:
    """Return how unusual an expected total over `steps` is beside the history's own totals over as many steps.

    Above the 90th percentile is medium, above the 99th high; None while the history is too short to say.
    """
    known = np.nan_to_num(history)
    if len(known) < steps + _FEWEST_WINDOWS:
        return None
    sums = np.convolve(known, np.ones(steps), "valid")
    medium, high = np.percentile(sums, [_MEDIUM_PERCENTILE, _HIGH_PERCENTILE])
    return "high" if expected > high else "medium" if expected > medium else "low"

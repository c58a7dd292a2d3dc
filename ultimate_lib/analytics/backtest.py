"""Rolling-origin backtests: which members are believed how much, and what the combination missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

ORIGINS = 6
_RELATIVE = 0.75  # how much of a member's error is counted relative to the size of each value


class Combined(NamedTuple):
    """The combination of members.

    `ahead` is the forecast (horizon), `held_out` what would have been said at each earlier origin (origins,
    steps) with weights from the other origins alone, `weights` one per member, summing to 1.
    """

    ahead: Floats
    held_out: Floats
    weights: Floats


def origins(length: int, horizon: int, spacing: int, least: int, *, season: int = 1) -> list[int]:
    """Return up to six earlier origins, oldest first, each with a whole horizon to come and `least` values before.

    The latest is whole seasons before the end.
    """
    latest = length - -(-horizon // season) * season
    found = [latest - spacing * back for back in range(ORIGINS)]
    return sorted(origin for origin in found if origin >= least)


def combine(made: Floats, actual: Floats, *, power: float, mean: bool) -> Combined:
    """Combine members `made` (members, origins + 1, horizon) by their errors against `actual` (origins, steps).

    What came is known for the first `steps` of the horizon, at most all of them.
    A member's weight is its error, over the best one's, to the power of -`power`. Combined is the weighted median, or
    with `mean` the weighted mean.
    """
    past = made[:, :-1, : actual.shape[1]]
    errors = _errors(past, actual)
    count = errors.shape[1]
    weights = _weights(errors.mean(axis=1), power)
    together = _mean if mean else weighted_median
    held_out = [
        together(past[:, at], _weights(np.delete(errors, at, axis=1).mean(axis=1), power) if count > 1 else weights)
        for at in range(count)
    ]
    return Combined(together(made[:, -1], weights), np.array(held_out), weights)


def weighted_median(made: Floats, weights: Floats) -> Floats:
    """Return the interpolated weighted median over the first axis of (members, horizon)."""
    order = np.argsort(made, axis=0)
    values = np.take_along_axis(made, order, axis=0)
    heed = weights[order]
    middles = (heed.cumsum(axis=0) - 0.5 * heed) / heed.sum(axis=0)
    if len(weights) == 1:
        only: Floats = values[0]
        return only
    upper = np.clip((middles < 0.5).sum(axis=0), 1, len(weights) - 1)[None]  # noqa: PLR2004 - the middle
    low, high = (np.take_along_axis(middles, upper + d, axis=0)[0] for d in (-1, 0))
    left, right = (np.take_along_axis(values, upper + d, axis=0)[0] for d in (-1, 0))
    found: Floats = left + (right - left) * np.clip((0.5 - low) / (high - low + 1e-12), 0, 1)
    return found


def scale_of(values: Floats, season: int) -> float:
    """Return the mean absolute error of the seasonal naive forecast within the series: what MASE divides by."""
    return float(np.mean(np.abs(values[season:] - values[:-season]))) if len(values) > season else float("nan")


def _errors(made: Floats, actual: Floats) -> Floats:
    """Return each member's error at each origin, a mix of absolute and relative ones."""
    absolute = np.abs(made - actual)
    relative = 2 * absolute / (np.abs(made) + np.abs(actual) + 1e-9)
    whole, part = absolute.mean() or 1.0, relative.mean() or 1.0
    mixed: Floats = ((1 - _RELATIVE) * absolute / whole + _RELATIVE * relative / part).mean(axis=2)
    return mixed


def _weights(errors: Floats, power: float) -> Floats:
    errors = errors + 1e-9 * (errors.max() or 1.0)
    weights = (errors / errors.min()) ** -power
    share: Floats = weights / weights.sum()
    return share


def _mean(made: Floats, weights: Floats) -> Floats:
    found: Floats = weights @ made
    return found

"""Linear autoregressions on chosen lags and Fourier terms, forecast step by step from many origins at once.

The normal equations grow from origin to origin, so that six origins cost little more than one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_BASE = 1e-6  # what the constant and numerical safety cost
_STILL = 1e-9  # of the size of values: they vary by rounding alone


class _Fit(NamedTuple):
    """Weights by origin, for the lags first, then for the terms that are known ahead, given by time."""

    lags: tuple[int, ...]
    weights: Floats
    known: Floats


class Terms(NamedTuple):
    """What a regression sees: lagged values, and waves as (period, harmonics)."""

    lags: tuple[int, ...]
    waves: tuple[tuple[float, int], ...] = ()


def spread_of(values: Floats) -> float:
    """Return the standard deviation, or 1 where values do not vary: a constant's own is often 1e-17."""
    spread = float(values.std())
    return spread if spread > _STILL * float(np.abs(values).max(initial=0.0)) else 1.0


def ridge(
    z: Floats, origins: Sequence[int], horizon: int, terms: Terms, *, penalty: float, difference: int = 0
) -> Floats:
    """Forecast by ridge regression on `terms`; with `difference` the series is differenced at that lag first.

    `z` is standardised: the penalty counts in its units.
    """
    series = z[difference:] - z[:-difference] if difference else z
    scale = np.r_[
        np.full(len(terms.lags), spread_of(series[: origins[0] - difference])),
        np.ones(1 + 2 * sum(k for _, k in terms.waves)),
    ]
    design, target, known = _design(series, horizon, terms, difference)
    design = design / scale
    price = np.full(design.shape[1], penalty)
    price[len(terms.lags)] = _BASE
    gram, moment, done = np.diag(price), np.zeros(design.shape[1]), 0
    weights = []
    for origin in origins:
        until = max(origin - difference - max(terms.lags), 0)
        gram = gram + design[done:until].T @ design[done:until]
        moment = moment + design[done:until].T @ target[done:until]
        done = max(until, done)
        weights.append(np.linalg.solve(gram, moment) / scale)
    shifted = [origin - difference for origin in origins]
    ahead = _recursion(series, shifted, horizon, _Fit(terms.lags, np.array(weights), known))
    return _undifferenced(z, origins, ahead, difference) if difference else ahead


def recent(z: Floats, origins: Sequence[int], horizon: int, terms: Terms, *, penalty: float, window: int) -> Floats:
    """Forecast by a ridge regression fitted to the last `window` values alone."""
    return np.array(
        [ridge(z[max(o - window, 0) : o], [min(o, window)], horizon, terms, penalty=penalty)[0] for o in origins]
    )


def least_absolute(z: Floats, origins: Sequence[int], horizon: int, terms: Terms, *, penalty: float) -> Floats:
    """Forecast by a regression on `terms` that minimises absolute errors (reweighted least squares, four rounds)."""
    design, target, known = _design(z, horizon, terms, 0)
    price = np.eye(design.shape[1]) * penalty
    weights = []
    for origin in origins:
        until = max(origin - max(terms.lags), 1)
        seen, wanted, heed = design[:until], target[:until], np.ones(until)
        for _ in range(4):
            weighted = (seen * heed[:, None]).T
            found = np.linalg.solve(weighted @ seen + price, weighted @ wanted)
            error = np.abs(wanted - seen @ found)
            heed = 1 / np.maximum(error, np.median(error) * 0.3 + 1e-9)
            heed *= until / heed.sum()
        weights.append(found)
    return _recursion(z, origins, horizon, _Fit(terms.lags, np.array(weights), known))


def on_profile(
    z: Floats,
    origins: Sequence[int],
    horizon: int,
    lags: tuple[int, ...],
    *,
    season: int,
    cycles: int,
    penalty: float,
) -> Floats:
    """Forecast a seasonal profile plus an autoregression of what it leaves."""
    made = []
    for origin in origins:
        count = min(cycles, origin // season)
        window = z[origin - count * season : origin]
        turns = window.reshape(count, season)
        profile = (turns - turns.mean(axis=1, keepdims=True)).mean(axis=0)
        rest = window - np.tile(profile, count)
        level, spread = rest.mean(), spread_of(rest) ** 2
        rest = rest - level
        used = tuple(lag for lag in lags if lag < len(rest) // 2) or (1,)
        design, target, _ = _design(rest, 0, Terms(used), 0)
        design, slopes = design[:, : len(used)], np.zeros(len(used) + 1)
        slopes[:-1] = np.linalg.solve(design.T @ design + penalty * spread * np.eye(len(used)), design.T @ target)
        ahead = _recursion(rest, [len(rest)], horizon, _Fit(used, slopes[None], np.ones((len(rest) + horizon, 1))))
        made.append(ahead[0] + level + np.resize(profile, horizon))
    return np.array(made)


def direct(
    z: Floats, origins: Sequence[int], horizon: int, *, window: int, penalty: float, centre: int = 0
) -> Floats:
    """Forecast all steps at once by ridge regressions on the last `window` values.

    With `centre` they are taken less the mean of the last so many.
    """
    pieces = np.lib.stride_tricks.sliding_window_view(z, window + horizon)
    made = np.empty((len(origins), horizon))
    price = np.r_[np.full(window, penalty), _BASE]
    for row, origin in enumerate(origins):
        seen = pieces[: max(origin - window - horizon + 1, 0)]
        last = z[origin - window : origin]
        level = last[-centre:].mean() if centre else 0.0
        if centre:
            seen = seen - seen[:, window - centre : window].mean(axis=1, keepdims=True)
        design = np.hstack([seen[:, :window], np.ones((len(seen), 1))])
        found = np.linalg.solve(design.T @ design + np.diag(price), design.T @ seen[:, window:])
        made[row] = np.r_[last - level, 1.0] @ found + level
    return made


def _design(z: Floats, horizon: int, terms: Terms, offset: int) -> tuple[Floats, Floats, Floats]:
    """Return lagged values and known terms by row, the targets, and the known terms of all times to the horizon."""
    time = np.arange(len(z) + horizon) + offset
    parts = [np.ones((len(time), 1))]
    for period, harmonics in terms.waves:
        angle = 2 * np.pi * np.outer(time, np.arange(1, harmonics + 1)) / period
        parts += [np.sin(angle), np.cos(angle)]
    known = np.hstack(parts)
    rows = np.arange(max(terms.lags), len(z))
    return np.hstack([z[rows[:, None] - np.array(terms.lags)], known[rows]]), z[rows], known


def _recursion(z: Floats, origins: Sequence[int], horizon: int, fit: _Fit) -> Floats:
    """Return the forecasts of all origins, each step fed by those before it."""
    lags, weights, known = fit
    reach, own = max(lags), weights[:, : len(lags)]
    path = np.empty((len(origins), reach + horizon))
    given = np.empty((len(origins), horizon))
    for row, origin in enumerate(origins):
        path[row, :reach] = z[origin - reach : origin]
        given[row] = known[origin : origin + horizon] @ weights[row, len(lags) :]
    back = np.array(lags)
    for step in range(horizon):
        path[:, reach + step] = (path[:, reach + step - back] * own).sum(axis=1) + given[:, step]
    return path[:, reach:]


def _undifferenced(z: Floats, origins: Sequence[int], ahead: Floats, lag: int) -> Floats:
    made = np.empty_like(ahead)
    for row, origin in enumerate(origins):
        path = np.r_[z[origin - lag : origin], ahead[row]]
        for step in range(ahead.shape[1]):
            path[lag + step] += path[step]
        made[row] = path[lag:]
    return made

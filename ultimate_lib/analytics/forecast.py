"""Forecast a series of hours or days: many methods, believed by their backtest, with intervals from what it missed.

A family of regressions, smoothings and profiles (`members`) is backtested from up to six earlier origins; their
error-weighted median (hours) or mean (days) is the forecast, its intervals are split-conformal. The measured figures
on public series, beside other libraries', are printed by `tests/bench/forecast.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ultimate_lib.analytics import backtest, intervals, prices
from ultimate_lib.analytics.members import families
from ultimate_lib.errors import Invalid, NotEnoughData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

LEVELS = (0.8, 0.95)
PATHS = 500
FEWEST = {"hour": 24, "day": 5}
"""Fewest values that are forecast at all."""
_MOST = {"hour": 90 * 24, "day": 366}
_BACKTESTED = {"hour": 168, "day": 90}
_FEWEST_BACKTESTED = {"hour": 24, "day": 3}
_SEASON = {"hour": 24, "day": 7}
_MOST_GAPS = 1 / 3
_CYCLES = {"hour": (24, 168), "day": (7,)}
_FEWEST_CYCLES = 3
_AROUND, _FAR_OFF = 4, 8.0
_ENOUGH_ORIGINS = 4
_FREEDOM = 4.0  # of Student's distribution, from which paths take their size: origins are few


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the backtest measured: from `origins` earlier moments, `horizon` steps each.

    MASE divides by the mean error of the seasonal naive forecast within the series; `ratio` is the error over the
    naive forecast's on the very same steps (below 1: better). Each is None where it would divide by 0. `coverage` is
    the share of values inside the interval of each level, made from the other origins alone.
    """

    origins: int
    horizon: int
    mase: float | None
    naive_mase: float | None
    ratio: float | None
    coverage: dict[float, float]


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast; arrays are (horizon), in the series' unit.

    `paths` is (paths, horizon): whole futures, for the distribution of totals and of dates. `accuracy` is None where
    there was too little to backtest.
    """

    point: Floats
    lower: dict[float, Floats]
    upper: dict[float, Floats]
    naive: Floats
    paths: Floats
    method: str
    members: tuple[tuple[str, float], ...]
    accuracy: Accuracy | None
    notes: tuple[str, ...] = field(default=())
    missed: intervals.Missed | None = None  # the backtest itself, for what is made of this forecast


def forecast(
    values: Sequence[float] | Floats,
    horizon: int,
    *,
    step: families.Step,
    floor: float | None = 0.0,
    levels: Sequence[float] = LEVELS,
) -> Forecast:
    """Forecast `horizon` steps of a series with one value a step, oldest first; NaN marks a gap.

    `floor` is what no value falls below (None: nothing). Raises `NotEnoughData` when there is too little to learn
    from, and `Invalid` for infinite values or a horizon out of reason.
    """
    if not 1 <= horizon <= _MOST[step]:
        raise Invalid(
            f"A horizon of {horizon} {step}s cannot be forecast.", hint=f"Ask for 1 to {_MOST[step]} {step}s."
        )
    series, notes = _prepared(np.asarray(values, dtype=float), step)
    plan = _plan(len(series), horizon, step)
    found = (
        _by_level(series, horizon, step, levels) if plan is None else _by_family(series, horizon, step, levels, plan)
    )
    bound = -np.inf if floor is None else floor
    return Forecast(
        point=np.maximum(found.point, bound),
        lower={level: np.maximum(low, bound) for level, low in found.lower.items()},
        upper={level: np.maximum(high, bound) for level, high in found.upper.items()},
        naive=found.naive,
        paths=np.maximum(found.paths, bound),
        method=found.method,
        members=found.members,
        accuracy=found.accuracy,
        notes=(*notes, *found.notes),
        missed=found.missed,
    )


def of_cost(
    tokens: Sequence[float] | Floats, costs: Sequence[float] | Floats, horizon: int, *, step: families.Step
) -> Forecast:
    """Forecast cost: by itself, or as tokens times the recent cost of a token, whichever the backtest says is better.

    Both series have one value a step. Where the cost of a token has changed for good, what came before is counted at
    the cost of today, and told in `notes`. Raises as `forecast`.
    """
    costs, tokens = np.asarray(costs, dtype=float), np.asarray(tokens, dtype=float)
    if len(costs) != len(tokens):
        raise Invalid("Tokens and costs are of different lengths.", hint="Pass one value a step of each.")
    costs, changes = prices.repriced(tokens, costs, cycle=_SEASON[step])
    notes = tuple(
        f"{len(costs) - at} {step}s ago the cost of a token changed to {ratio:.0%} of what it was: "
        "what came before counts at the cost of today."
        for at, ratio in changes
    )
    alone = forecast(costs, horizon, step=step)
    try:
        made = _product(forecast(tokens, horizon, step=step), tokens, costs, step)
    except NotEnoughData:
        made = None
    if made is None or made.accuracy is None or alone.accuracy is None:
        best = alone
    else:
        best = made if (made.accuracy.mase or 0) <= (alone.accuracy.mase or 0) else alone
    return replace(best, notes=(*notes, *best.notes))


def _product(volume: Forecast, tokens: Floats, costs: Floats, step: families.Step) -> Forecast | None:
    """Return tokens' forecast at the cost of a token as it was at each origin, and is now."""
    if volume.missed is None:
        return None
    series, _ = _prepared(costs, step)
    behind = len(costs) - len(series)  # leading gaps
    plan = _plan(len(series), len(volume.point), step)
    if plan is None or plan[0] != volume.missed.actual.shape[1] or len(plan[1]) != len(volume.missed.actual):
        return None  # the two begin at different times
    tested, origins = plan
    until = [at + behind for at in [*origins, len(series)]]
    paid = np.array([prices.recent(tokens[:at], costs[:at], _SEASON[step]) for at in until])
    if not np.isfinite(paid).all():
        return None
    missed = volume.missed._replace(
        held_out=volume.missed.held_out * paid[:-1, None],
        actual=np.array([series[at : at + tested] for at in origins]),
    )
    point = volume.point * paid[-1]
    edges = intervals.bounds(point, missed, tuple(volume.lower))
    return Forecast(
        point=point,
        lower={level: np.maximum(low, 0) for level, (low, _) in edges.items()},
        upper={level: high for level, (_, high) in edges.items()},
        naive=np.resize(series[-_SEASON[step] :], len(point)),
        paths=np.maximum(_paths(point, missed, series), 0),
        method=f"tokens at the recent cost of a token; tokens: {volume.method}",
        members=volume.members,
        accuracy=_accuracy(series, missed, origins, tuple(volume.lower)),
        notes=volume.notes,
        missed=missed,
    )


def _plan(length: int, horizon: int, step: families.Step) -> tuple[int, list[int]] | None:
    """Return the backtest's horizon and origins, or None when there is too little for any.

    Where the history is long enough the origins are whole seasons before now: at the same hour, or on the same weekday,
    so that what a step missed before is what that hour or weekday is missed by.
    """
    season, wanted = _SEASON[step], min(horizon, _BACKTESTED[step])
    if step == "hour":
        rich = length - 5 * families.DAY - families.FEWEST_HOURS
        if rich >= families.DAY:
            wanted = min(wanted, rich)
            return wanted, backtest.origins(length, wanted, families.DAY, families.FEWEST_HOURS, season=season)
        wanted, spacing, least = min(wanted, max(length // 4, families.DAY)), families.DAY // 2, [families.FEWEST_HOURS, 3 * families.DAY]
    else:
        wanted = min(wanted, max(length // 6, _FEWEST_BACKTESTED[step]))
        spacing, least = max(wanted // 4, 1), list(families.FEWEST_DAYS)
    for enough in least:
        origins = backtest.origins(length, wanted, _whole(spacing, season), enough, season=season)
        if len(origins) >= _ENOUGH_ORIGINS:
            return wanted, origins
    origins = backtest.origins(length, wanted, spacing, least[-1])
    return (wanted, origins) if len(origins) > 1 else None


def _whole(steps: int, season: int) -> int:
    """Return the next number of steps that is whole seasons."""
    return -(-steps // season) * season


def _by_family(
    series: Floats, horizon: int, step: families.Step, levels: Sequence[float], plan: tuple[int, list[int]]
) -> Forecast:
    tested, origins = plan
    family = families.of(step, origins[0])
    usual, odd = _usual(series, _CYCLES[step])
    names, made = zip(*families.forecasts(family, usual, [*origins, len(series)], horizon), strict=True)
    actual = np.array([series[origin : origin + tested] for origin in origins])
    together = backtest.combine(np.array(made), actual, power=family.power, mean=family.mean)
    missed = intervals.Missed(together.held_out, actual, family.season, family.calibration)
    edges = intervals.bounds(together.ahead, missed, levels)
    order = np.argsort(-together.weights)
    how = "mean" if family.mean else "median"
    return Forecast(
        point=together.ahead,
        lower={level: low for level, (low, _) in edges.items()},
        upper={level: high for level, (_, high) in edges.items()},
        naive=np.resize(series[-family.season :], horizon),
        paths=_paths(
            together.ahead,
            missed._replace(actual=np.array([usual[origin : origin + tested] for origin in origins])),
            usual,
        ),
        method=f"{how} of {len(names)} methods, weighted by their backtest ({family.name})",
        members=tuple((names[at], float(together.weights[at])) for at in order),
        accuracy=_accuracy(series, missed, origins, levels),
        notes=(f"{_count(odd, step)} far from the usual value: left out of the learning.",) if odd else (),
        missed=missed,
    )


def _paths(ahead: Floats, missed: intervals.Missed, series: Floats) -> Floats:
    total = intervals.of_totals(series, missed, min(len(ahead), missed.actual.shape[1]))
    return intervals.paths(ahead, missed, total=total, count=PATHS, freedom=_FREEDOM)


def _accuracy(series: Floats, missed: intervals.Missed, origins: list[int], levels: Sequence[float]) -> Accuracy:
    count, tested = missed.actual.shape
    inside: dict[float, list[float]] = {level: [] for level in levels}
    for at, actual in enumerate(missed.actual):
        for level, (low, high) in intervals.bounds(missed.held_out[at], missed.but(at), levels).items():
            inside[level].append(float(np.mean((actual >= low) & (actual <= high))))
    naive = [np.resize(series[origin - missed.season : origin], tested) for origin in origins]
    scale = backtest.scale_of(series, missed.season)
    error = float(np.abs(missed.actual - missed.held_out).mean())
    plain = float(np.abs(missed.actual - np.array(naive)).mean())
    return Accuracy(
        origins=count,
        horizon=tested,
        mase=error / scale if scale else None,
        naive_mase=plain / scale if scale else None,
        ratio=error / plain if plain else None,
        coverage={level: float(np.mean(found)) for level, found in inside.items()},
    )


def _by_level(series: Floats, horizon: int, step: families.Step, levels: Sequence[float]) -> Forecast:
    """Forecast the level alone, with the spread that the values themselves have had."""
    heed = 0.5 ** (np.arange(len(series))[::-1] / max(len(series) / 2, 1))
    level = float(heed @ series / heed.sum())
    widen = intervals.Calibration(1.4, 1.8, 0.0)
    point = np.full(horizon, level)
    lower, upper = {}, {}
    for one in levels:
        edges = np.quantile(series, [0.5 - one / 2, 0.5 + one / 2])
        away = np.abs(edges - level) * widen.widening(one)
        lower[one], upper[one] = point - away[0], point + away[1]
    dice = np.random.default_rng(0)
    season = _SEASON[step]
    again = series[-season:] if len(series) >= season else series[-1:]
    return Forecast(
        point=point,
        lower=lower,
        upper=upper,
        naive=np.resize(again, horizon),
        paths=level + (dice.choice(series, (PATHS, horizon)) - level) * widen.far,
        method="level of the last values",
        members=(("level of the last values", 1.0),),
        accuracy=None,
        notes=(f"{len(series)} {step}s are too few to test a forecast on: this is a level and its spread so far.",),
    )


def _prepared(values: Floats, step: families.Step) -> tuple[Floats, list[str]]:
    """Return the series without gaps and single giants, and what was done to it."""
    if values.ndim != 1:
        raise Invalid("A series is one row of numbers.", hint="Pass one value a step.")
    if np.isinf(values).any():
        raise Invalid("The series holds infinite values.", hint="Mark what is unknown as NaN.")
    known = np.flatnonzero(~np.isnan(values))
    least = FEWEST[step]
    if len(known) < least:
        raise NotEnoughData(
            f"{len(known)} {step}s are known, and a forecast needs at least {least}.",
            hint=f"Wait until {least} {step}s have calls, or ask for a wider filter"
            + (", or for hours." if step == "day" else "."),
        )
    series = values[known[0] :].copy()
    gaps = np.flatnonzero(np.isnan(series))
    if len(gaps) > _MOST_GAPS * len(series):
        raise NotEnoughData(
            f"{len(gaps)} of {len(series)} {step}s are unknown: too many to forecast from.",
            hint="Choose a span or a filter with fewer gaps.",
        )
    if not series[~np.isnan(series)].any():
        raise NotEnoughData(
            f"All {len(known)} known {step}s are zero: nothing can be learnt from them.",
            hint="Choose a metric or a filter that has had calls.",
        )
    notes = []
    if len(gaps):
        _fill(series, gaps, _SEASON[step])
        notes.append(
            f"{_count(len(gaps), step)} without a value: filled from the same {step} of neighbouring cycles."
        )
    giants = _giants(series)
    if len(giants):
        _fill(series, giants, _SEASON[step])
        notes.append(f"{_count(len(giants), step)} far beyond all others: left out of the learning.")
    return series, notes


def _usual(series: Floats, cycles: tuple[int, ...]) -> tuple[Floats, int]:
    """Return the series as it usually is, for learning, and how many values were not.

    Unusual is what lies far from the same place of the cycles around it, of each length, in runs shorter than a third
    of the shortest: what lasts longer is a new level.
    """
    odd, middle = np.ones(len(series), dtype=bool), series
    for cycle in cycles:
        if len(series) < _FEWEST_CYCLES * cycle:
            continue
        middle = _around(series, cycle)
        away = np.abs(series - middle)
        odd &= away > _FAR_OFF * np.maximum(_around(away, cycle), np.median(away)) + 1e-12
    if middle is series:
        return series, 0
    edges = np.flatnonzero(np.diff(np.r_[0, odd.astype(int), 0]))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin > cycles[0] // 3:
            odd[begin:end] = False
    return np.where(odd, middle, series), int(odd.sum())


def _around(series: Floats, cycle: int) -> Floats:
    """Return the median of the same place in up to four cycles before and four after."""
    shifted = []
    for turn in range(1, _AROUND + 1):
        shift = turn * cycle
        if shift < len(series):
            unknown = np.full(shift, np.nan)
            shifted += [np.r_[unknown, series[:-shift]], np.r_[series[shift:], unknown]]
    found: Floats = np.nanmedian(np.array(shifted), axis=0)
    return found


def _fill(series: Floats, at: NDArray[np.intp], season: int) -> None:
    missing = set(at.tolist())
    rest = np.delete(series, at)
    middle = float(np.median(rest[~np.isnan(rest)]))
    for place in at:
        near = [
            series[there]
            for there in (place - season, place + season, place - 2 * season, place + 2 * season)
            if 0 <= there < len(series) and there not in missing
        ]
        series[place] = float(np.mean(near)) if near else middle


def _count(number: int, step: str) -> str:
    return f"{number} {step}{'' if number == 1 else 's'}"


def _giants(series: Floats) -> NDArray[np.intp]:
    """Return where single values lie beyond five times everything else: at most one in a hundred."""
    count = max(len(series) // 100, 1)
    size = np.abs(series)
    order = np.argsort(size)
    for giants in range(count, 0, -1):
        if size[order[-giants]] > 5 * size[order[-giants - 1]] > 0:
            return np.sort(order[-giants:])
    return np.array([], dtype=np.intp)

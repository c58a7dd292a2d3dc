"""Forecast a series of hours or days: many methods, believed by their backtest, with intervals from what it missed.

A family of regressions, smoothings and profiles (`members`) is backtested from up to six earlier origins; their
error-weighted median (hours) or mean (days) is the forecast, its intervals are split-conformal. The measured figures
on public series, beside other libraries', are printed by `tests/bench/forecast.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ultimate_lib.analytics import backtest, cleaning, intervals, prices, rare, untested
from ultimate_lib.analytics.members import families, pooled
from ultimate_lib.errors import Invalid, NotEnoughData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

LEVELS = (0.8, 0.95)
PATHS = 500
_MOST = {"hour": 90 * 24, "day": 366}
_BACKTESTED = {"hour": 168, "day": 90}
_FEWEST_BACKTESTED = {"hour": 24, "day": 3}
_FEWEST_FIRST = {"hour": 6, "day": 1}
_SEASON = {"hour": 24, "day": 7}
_CYCLES = {"hour": (24, 168), "day": (7,)}
_OWN_WEEKS = 2  # from then on others' week is not asked
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
    there was too little to backtest. `beyond` is what a step has on average beyond its usual value by rare large
    ones: nobody knows in which step they come, so it is no part of `point`, but of totals.
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
    beyond: float = 0.0

    @property
    def expected(self) -> Floats:
        """What each step adds to a total."""
        return self.point + self.beyond


def forecast(
    values: Sequence[float] | Floats,
    horizon: int,
    *,
    step: families.Step,
    floor: float | None = 0.0,
    levels: Sequence[float] = LEVELS,
    prior: Floats | None = None,
) -> Forecast:
    """Forecast `horizon` steps of a series with one value a step, oldest first; NaN marks a gap.

    `floor` is what no value falls below (None: nothing). `prior` is what the days of the week are like in other
    traffic, seven numbers from the weekday of `values[0]` on: heeded while days have had less than two weeks. Raises
    `NotEnoughData` when there is too little to learn from, and `Invalid` for infinite values or a horizon out of
    reason.
    """
    if not 1 <= horizon <= _MOST[step]:
        raise Invalid(
            f"A horizon of {horizon} {step}s cannot be forecast.", hint=f"Ask for 1 to {_MOST[step]} {step}s."
        )
    known = np.asarray(values, dtype=float)
    return _with_rare(_learnt(known, horizon, step, floor, levels, prior), known, step, floor)


def _learnt(  # noqa: PLR0917 - as `forecast`
    values: Floats,
    horizon: int,
    step: families.Step,
    floor: float | None = 0.0,
    levels: Sequence[float] = LEVELS,
    prior: Floats | None = None,
) -> Forecast:
    """Forecast what is usual: rare large values have no part in it."""
    series, notes = cleaning.prepared(values, step, _SEASON[step])
    plan = _plan(len(series), horizon, step)
    shape = _shape(prior, len(values), len(series), step)
    found = (
        _by_level(series, horizon, step, levels, shape)
        if plan is None
        else _by_family(series, horizon, step, levels, plan, shape=shape)
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
    tokens: Sequence[float] | Floats,
    costs: Sequence[float] | Floats,
    horizon: int,
    *,
    step: families.Step,
    prior: Floats | None = None,
) -> Forecast:
    """Forecast cost: by itself, or as tokens times the recent cost of a token, whichever the backtest says is better.

    Both series have one value a step. Where the cost of a token has changed for good, what came before is counted at
    the cost of today, and told in `notes`. `prior` as in `forecast`, which also says what is raised.
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
    alone = forecast(costs, horizon, step=step, prior=prior)
    try:
        made = _product(_learnt(tokens, horizon, step, prior=prior), tokens, costs, step)
    except NotEnoughData:
        made = None
    if made is None or made.accuracy is None or alone.accuracy is None:
        best = alone
    else:
        best = made if (made.accuracy.mase or 0) <= (alone.accuracy.mase or 0) else alone
    return replace(best, notes=(*notes, *best.notes))


def _with_rare(found: Forecast, values: Floats, step: families.Step, floor: float | None) -> Forecast:
    """Return a forecast whose futures have what was left out of the learning, as often and as large as it was."""
    usual, _ = cleaning.prepared(values, step, _SEASON[step])
    if found.missed is not None:
        usual, _ = cleaning.usual(usual, _CYCLES[step])
    gone, block = rare.left_out(values, usual), families.DAY if step == "hour" else 1
    mean = rare.expected(gone, usual, block=block)
    share = gone.sum() / (gone.sum() + usual.sum()) if mean else 0.0
    told = (
        f"Rare values beyond the usual hold {share:.0%} of all there has been. When they come next is not known: "
        f"totals count what they were on average, no single {step} does."
    )
    drawn = found.paths + rare.futures(gone, len(found.point), block=block, count=len(found.paths))
    return replace(
        found,
        paths=drawn if floor is None else np.maximum(drawn, floor),
        beyond=mean,
        notes=(*found.notes, told) if mean else found.notes,
    )


def _product(volume: Forecast, tokens: Floats, costs: Floats, step: families.Step) -> Forecast | None:
    """Return tokens' forecast at the cost of a token as it was at each origin, and is now."""
    if volume.missed is None:
        return None
    series, _ = cleaning.prepared(costs, step, _SEASON[step])
    usual, _ = cleaning.usual(series, _CYCLES[step])
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
    found = Forecast(
        point=point,
        lower={level: np.maximum(low, 0) for level, (low, _) in edges.items()},
        upper={level: high for level, (_, high) in edges.items()},
        naive=np.resize(series[-_SEASON[step] :], len(point)),
        paths=_paths(point, _usually(missed, usual, origins), usual),
        method=f"tokens at the recent cost of a token; tokens: {volume.method}",
        members=volume.members,
        accuracy=_accuracy(series, missed, origins, tuple(volume.lower)),
        notes=volume.notes,
        missed=missed,
    )
    return _with_rare(found, costs, step, 0.0)


def _plan(length: int, horizon: int, step: families.Step) -> tuple[int, list[int]] | None:
    """Return the backtest's horizon and origins, or None when there is too little for any.

    Where the history is long enough the origins are whole seasons before now, at the same hour or weekday:
    those err alike.
    """
    season, longest = _SEASON[step], min(horizon, _BACKTESTED[step])
    if step == "hour":
        rich = length - 5 * families.DAY - families.FEWEST_HOURS
        if rich >= families.DAY:
            wanted = min(longest, rich)
            return wanted, backtest.origins(length, wanted, season, families.FEWEST_HOURS, season=season)
        wanted, spacing = min(longest, max(length // 4, families.DAY)), families.DAY // 2
    else:
        wanted = min(longest, max(length // 6, _FEWEST_BACKTESTED[step]))
        spacing = max(wanted // 4, 1)
    *several, few, first = families.FEWEST[step]
    for enough in (*several, few):
        origins = backtest.origins(length, wanted, _whole(spacing, season), enough, season=season)
        if len(origins) >= _ENOUGH_ORIGINS:
            return wanted, origins
    origins = backtest.origins(length, wanted, spacing, few)
    if len(origins) > 1:
        return wanted, origins
    longest = (length - first) // 2
    if longest < _FEWEST_FIRST[step]:
        return None
    wanted = min(wanted, longest)
    return wanted, backtest.origins(length, wanted, max(wanted // 4, 1), first)


def _whole(steps: int, season: int) -> int:
    """Return the next number of steps that is whole seasons."""
    return -(-steps // season) * season


def _by_family(
    series: Floats,
    horizon: int,
    step: families.Step,
    levels: Sequence[float],
    plan: tuple[int, list[int]],
    *,
    shape: Floats | None,
) -> Forecast:
    tested, origins = plan
    family = families.of(step, origins[0])
    usual, odd = cleaning.usual(series, _CYCLES[step])
    every = [*origins, len(series)]
    told = list(families.forecasts(family, usual, every, horizon))
    if shape is not None:
        told += pooled.forecasts(usual, every, horizon, shape, family.season)
    names, made = zip(*told, strict=True)
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
        paths=_paths(together.ahead, _usually(missed, usual, origins), usual),
        method=f"{how} of {len(names)} methods, weighted by their backtest ({family.name})",
        members=tuple((names[at], float(together.weights[at])) for at in order),
        accuracy=_accuracy(series, missed, origins, levels),
        notes=(f"{cleaning.count(odd, step)} far from the usual value: left out of the learning.",) if odd else (),
        missed=missed,
    )


def _usually(missed: intervals.Missed, usual: Floats, origins: list[int]) -> intervals.Missed:
    """Return a backtest as if what came had been as it usually is."""
    tested = missed.actual.shape[1]
    return missed._replace(actual=np.array([usual[origin : origin + tested] for origin in origins]))


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


def _shape(prior: Floats | None, length: int, known: int, step: families.Step) -> Floats | None:
    """Return others' week as shares of its mean, from the first known value on; None when it is not to be heeded."""
    if prior is None:
        return None
    if step != "day" or len(prior) != _SEASON[step]:
        raise Invalid(
            f"A prior of {len(prior)} {step}s is no week of days.",
            hint="Pass 7 days to a forecast of days; one of hours learns more from its own first day.",
        )
    mean = float(np.mean(prior))
    if known >= _OWN_WEEKS * len(prior) or not np.isfinite(mean) or mean <= 0:
        return None
    return np.roll(prior, known - length) / mean


def _by_level(
    series: Floats, horizon: int, step: families.Step, levels: Sequence[float], shape: Floats | None
) -> Forecast:
    season = _SEASON[step]
    found = untested.expected(series, horizon, season, levels, shape=shape, count=PATHS)
    again = series[-season:] if len(series) >= season else series[-1:]
    return Forecast(
        point=found.point,
        lower=found.lower,
        upper=found.upper,
        naive=np.resize(again, horizon),
        paths=found.paths,
        method=found.method,
        members=((found.method, 1.0),),
        accuracy=None,
        notes=(f"{len(series)} {step}s are too few to test a forecast on: this is the {found.method}.",),
    )

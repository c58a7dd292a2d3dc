"""The trend of a metric over REST: where it is going, in numbers and in words, or that it cannot be told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from proxy_server.control.api.analytics import Filter, Missing, Zone, plain, where
from proxy_server.control.api.patterns import days_of
from proxy_server.control.api.predictive import history, metric_of
from proxy_server.control.api.span import zone_of
from proxy_server.control.api.steps import floor
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from proxy_server.control.answers import Caller
    from ultimate_lib.analytics.trend import Change, Trend
    from ultimate_lib.workbench import Workbench

_MOST_DAYS = {"hour": 60, "day": 800}
_PERIOD = timedelta(days=7)
_METHOD = "Theil-Sen slope within levels; Mann-Kendall with Hamed-Rao and AR(1) variance; Sen's interval"
_BY_DAYS = "means of days beside the same weekday alone, for want of three weeks; Kendall's test, Sen's interval"


class AskedTrend(Struct, kw_only=True):
    """Whose trend."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests, latency_p95_ms …")] = "cost_usd"
    grain: Annotated[str, Meta(description="day, or hour.", pattern="^(hour|day)$")] = "day"
    days: Annotated[
        Annotated[int, Meta(ge=3, le=800)] | None,
        Meta(description="Days back; default: 90, with grain=hour 60, the most there."),
    ] = None
    time_zone: Zone = ""
    filter: Filter = ()


class LevelChange(Struct, kw_only=True):
    """A level that changed for good: from what to what, the cycle taken out; `ratio` is null where before was 0."""

    at: datetime
    before: float
    after: float
    ratio: float | None


class Period(Struct, kw_only=True):
    """Seven whole days; `value` is null where it is not known."""

    start: datetime
    end: datetime
    value: float | None


class TrendStep(Struct, kw_only=True):
    """One step: what was, the same without its cycle, and the trend through it; null is unknown."""

    step_at: datetime
    value: float | None
    deseasonalised: float | None
    trend: float | None


class TrendTold(Struct, kw_only=True):
    """A trend. `direction` is none where none can be told, which is not to say that there is none."""

    metric: str
    unit: str
    grain: str
    time_zone: str
    start: datetime
    end: datetime
    known_steps: int
    direction: Literal["up", "down", "none"]
    words: str
    slope_per_week: float  # by how much a step of the grain changes in a week
    lower_95: float
    upper_95: float
    ratio_per_week: float | None  # slope over the middle of the steps
    p_value: float
    autocorrelation: float
    cycle: Literal["week", "day"] | None  # what was taken out
    changes: list[LevelChange]
    this_period: Period
    last_period: Period
    method: str
    rows: list[TrendStep]
    missing: Missing
    unpriced_requests: int


def trend(bench: Workbench, caller: Caller, asked: AskedTrend) -> TrendTold:
    """Return the trend of whole steps before now. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.analytics import trend as finding  # noqa: PLC0415 - the lake's libraries load with it
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    name = metric_of(asked.metric)
    zone = zone_of(asked.time_zone or bench.settings.billing.time_zone)
    most = _MOST_DAYS[asked.grain]
    days = asked.days or min(90, most)
    if days > most:
        raise Invalid(f"Hours go back {most} days, and not {days}.", hint="Ask for fewer days, or grain=day.")
    now, per_day = bench.clock.now().astimezone(zone), 24 if asked.grain == "hour" else 1
    past = history(bench, caller, asked.filter, name, asked.grain, now)
    values, at = past.values, past.at
    if per_day > 1:  # 24 hours a day by the wall clock, so that an hour keeps its place when clocks change
        first, values = days_of(past, adds=METRICS[name].adds)
        midnight = datetime(first.year, first.month, first.day, tzinfo=zone)
        at = [midnight + timedelta(days=one // 24, hours=one % 24) for one in range(len(values))]
    values, at = values[-days * per_day :], at[-days * per_day :]
    place = at[0].weekday() * per_day + (at[0].hour if per_day > 1 else 0) if at else 0
    found = finding.trend(values, per_day=per_day, place=place)
    periods = _periods(bench, caller, asked, name, now, at[0])
    unit, middle = METRICS[name].unit, _middle(found.deseasonalised)
    a_week = 7 * per_day
    direction: Literal["up", "down", "none"] = "none" if not found.there else "up" if found.slope > 0 else "down"
    ratio = found.slope * a_week / middle if middle > 0 else None
    return TrendTold(
        metric=name,
        unit=unit,
        grain=asked.grain,
        time_zone=zone.key,
        start=at[0],
        end=at[-1] + timedelta(days=1) if per_day == 1 else at[-1] + timedelta(hours=1),
        known_steps=sum(one == one for one in values.tolist()),  # noqa: PLR0124 - NaN
        direction=direction,
        words=_words(name, unit, asked.grain, found, direction, periods),
        slope_per_week=found.slope * a_week,
        lower_95=found.lower * a_week,
        upper_95=found.upper * a_week,
        ratio_per_week=ratio,
        p_value=found.p,
        autocorrelation=found.correlation,
        cycle={7 * per_day: "week", 24: "day"}.get(found.cycle),  # type: ignore[arg-type] # one of the two
        changes=[
            LevelChange(
                at=at[one.step],
                before=one.before,
                after=one.after,
                ratio=one.after / one.before if one.before else None,
            )
            for one in found.changes
        ],
        this_period=periods[0],
        last_period=periods[1],
        method=_BY_DAYS if found.by_days else _METHOD,
        rows=_rows(found, values, at),
        missing=Missing(past.answer.missing_files, past.answer.missing_rows),
        unpriced_requests=past.answer.unpriced_requests,
    )


def _middle(values: NDArray[np.float64]) -> float:
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    return float(np.nanmedian(values))


def _change(one: Change, at: list[datetime]) -> LevelChange:
    ratio = one.after / one.before if one.before else None
    return LevelChange(at=at[one.step], before=one.before, after=one.after, ratio=ratio)


def _rows(found: Trend, values: NDArray[np.float64], at: list[datetime]) -> list[TrendStep]:
    return [
        TrendStep(step_at=when, value=plain(value), deseasonalised=plain(without), trend=plain(line))
        for when, value, without, line in zip(
            at, values.tolist(), found.deseasonalised.tolist(), found.fitted.tolist(), strict=True
        )
    ]


def _periods(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, asked: AskedTrend, name: str, now: datetime, first: datetime
) -> tuple[Period, Period]:
    """Return the last seven whole days and the seven before; what lies before the history is not known."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - see above
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    found = []
    end = floor(now, "day")
    for _ in range(2):
        start = end - _PERIOD
        value = None
        if start >= floor(first, "day"):
            metrics = tuple(dict.fromkeys((name, "requests")))
            query = Query(metrics=metrics, start=start, end=end, where=where(caller, asked.filter))
            row = numbers.aggregate(bench.lake, query, bench.compute).frame.row(0, named=True)
            value = 0.0 if row[name] is None and METRICS[name].adds and not row["requests"] else plain(row[name])
        found.append(Period(start=start, end=end, value=None if value is None else float(value)))
        end = start
    return found[0], found[1]


def _words(  # noqa: PLR0917 - the parts of a sentence
    name: str, unit: str, grain: str, found: Trend, direction: str, periods: tuple[Period, Period]
) -> str:
    what = f"{name} per {grain}"
    slope, low, high = (
        _amount(one * 7 * (24 if grain == "hour" else 1), unit) for one in (found.slope, found.lower, found.upper)
    )
    sure = f"(95 %: {low} to {high}, p = {found.p:.2g})"
    if direction != "none":
        told = f"{what}: {direction} by {slope.removeprefix('-')} a week {sure}."
    elif found.slope == found.lower == found.upper:
        told = f"No trend can be told in {what}: most of its {grain}s are alike."
    else:
        told = f"No trend can be told in {what}: {slope} a week may well be chance {sure}."
    if found.by_days:
        told += " Judged by days, each beside the same weekday: less than three weeks do not show the week's hours."
    if found.changes:
        times = "once" if len(found.changes) == 1 else f"{len(found.changes)} times"
        told += f" Its level changed {times}; the trend is beside that."
    this, last = (one.value for one in periods)
    if this is not None and last is not None:
        told += f" The last seven days: {_amount(this, unit)}; the seven before: {_amount(last, unit)}"
        told += f" ({this / last - 1:+.0%})." if last > 0 else "."
    return told


def _amount(value: float, unit: str) -> str:
    size = abs(value)
    digits = f"{size:,.0f}" if size >= 1000 else f"{size:.3g}"  # noqa: PLR2004 - three digits below
    sign = "-" if value < 0 and float(digits.replace(",", "")) else ""
    return f"{sign}${digits}" if unit == "usd" else f"{sign}{digits}{'' if unit == 'ratio' else f' {unit}'}"

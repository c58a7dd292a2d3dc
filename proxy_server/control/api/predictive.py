"""Forecasts over REST: the history is read from the lake, the forecasting is `ultimate_lib.analytics`.

A step that is still running is not history: it is forecast, and what it has had so far counts as spent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from proxy_server.control.api import limits, span
from proxy_server.control.api.analytics import ALIASES, Filter, Missing, Zone, where
from proxy_server.control.api.steps import floor, later_of, left_of
from ultimate_lib.errors import Invalid, NotEnoughData

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from proxy_server.control.answers import Caller
    from ultimate_lib.analytics.forecast import Forecast
    from ultimate_lib.lake.query import Answer, Query
    from ultimate_lib.limits.status import BudgetState
    from ultimate_lib.workbench import Workbench

HISTORY = {"minute": timedelta(days=4), "hour": timedelta(days=60), "day": timedelta(days=800)}
_SHOWN = {"hour": 14 * 24, "day": 90}
_LONGEST_BUDGET = {"hour": 31 * 24, "day": 31}  # how far ahead a budget's end is looked for
_NANO = 1e9
_OWN_DAYS = 14  # from then on others' week is not asked


class AskedForecast(Struct, kw_only=True):
    """What to forecast."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests, latency_p95_ms …")] = "cost_usd"
    days: Annotated[int, Meta(ge=1, le=90, description="How many days ahead.")] = 7
    grain: Annotated[str, Meta(description="hour or day.", pattern="^(hour|day)$")] = "day"
    time_zone: Zone = ""
    filter: Filter = ()


class Step(Struct, kw_only=True):
    """One step ahead; bounds hold 80 % and 95 % of what may come."""

    step_at: datetime
    value: float
    lower_80: float
    upper_80: float
    lower_95: float
    upper_95: float
    naive: float  # the last season again


class Past(Struct, kw_only=True):
    """One step of the history; null is unknown."""

    step_at: datetime
    value: float | None


class Backtest(Struct, kw_only=True):
    """What the same method did from earlier moments; null where it would divide by zero."""

    origins: int
    steps: int
    mase: float | None
    naive_mase: float | None
    ratio_to_naive: float | None
    coverage_80: float
    coverage_95: float


class Summary(Struct, kw_only=True):
    """The whole span ahead: the total of what adds up, the mean of what does not."""

    total: float | None
    lower_80: float | None
    upper_80: float | None
    lower_95: float | None
    upper_95: float | None
    mean: float
    total_cost: float | None  # dollars, when the metric is cost_usd


class BudgetOutlook(Struct, kw_only=True):
    """What a budget of the same calls will have spent by the end of its period, and when all of it.

    `exhausted_at` is the step in which it is used up in the middle of those futures that do, null when none does;
    `expected` and its bounds are in the budget's unit, null for a budget without an end.
    """

    id: str
    name: str
    amount: int
    unit: str
    spent: int | None
    period_end: datetime | None
    until: datetime  # how far was looked
    expected: int | None
    lower_80: int | None
    upper_80: int | None
    probability: float  # that it is spent by then
    exhausted_at: datetime | None
    earliest_80: datetime | None
    latest_80: datetime | None
    risk_level: Literal["low", "medium", "high"]


class Forecasted(Struct, kw_only=True):
    """A forecast, how it was made, and how well the same way has done before."""

    metric: str
    unit: str
    grain: str
    days: int
    time_zone: str
    start: datetime
    end: datetime
    rows: list[Step]
    history: list[Past]
    summary: Summary
    risk_level: Literal["low", "medium", "high", "unknown"]
    risk_reason: str
    cost_prediction: float | None  # dollars; the total of cost_usd
    budgets: list[BudgetOutlook]
    method: str
    members: dict[str, float]  # what each method weighs; 1 in all
    backtest: Backtest | None
    notes: list[str]
    missing: Missing
    unpriced_requests: int  # calls of the history whose cost is not known


class History(Struct):
    """A metric's whole steps before now, from the first call on."""

    values: Any  # NDArray[float64]: one a step, NaN where unknown
    tokens: Any
    at: list[datetime]
    answer: Any
    calls: Any = None  # one a step


def forecast(bench: Workbench, caller: Caller, asked: AskedForecast) -> Forecasted:
    """Return the forecast of a metric. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - the lake's libraries load with the first question

    name = metric_of(asked.metric)
    zone = span.zone_of(asked.time_zone or bench.settings.billing.time_zone)
    now = bench.clock.now().astimezone(zone)
    past = history(bench, caller, asked.filter, name, asked.grain, now)
    per_day = 24 if asked.grain == "hour" else 1
    steps, counted = asked.days * per_day, METRICS[name].adds
    budgets = _concerned(bench, caller, asked, name)
    ahead = max([steps, *(steps_until(one, now, asked.grain) for one in budgets)])
    values, tokens = past.values.tobytes(), past.tokens.tobytes()
    prior = others_week(bench, caller, asked.filter, name, asked.grain, now, past)
    made = made_of(values, tokens, steps, asked.grain, name == "cost_usd", prior)
    further = made_of(values, tokens, ahead, asked.grain, name == "cost_usd", prior) if budgets else made
    later = later_of(now, zone, asked.grain, ahead)
    outlooks = [budget_outlook(one, further, later, now) for one in budgets]
    risk, reason = _risk(outlooks, past, made, steps) if counted else ("unknown", "A risk is told of what adds up.")
    summary = _summary(made, steps, counted=counted, cost=name == "cost_usd")
    return Forecasted(
        metric=name,
        unit=METRICS[name].unit,
        grain=asked.grain,
        days=asked.days,
        time_zone=zone.key,
        start=later[0],
        end=later[steps],
        rows=_rows(made, later, steps),
        history=[Past(step_at=at, value=None if value != value else float(value))  # noqa: PLR0124 - NaN
                 for at, value in list(zip(past.at, past.values, strict=True))[-_SHOWN[asked.grain]:]],
        summary=summary,
        risk_level=risk,  # type: ignore[arg-type] # one of the four
        risk_reason=reason,
        cost_prediction=summary.total_cost,
        budgets=outlooks,
        method=made.method,
        members={member: round(weight, 4) for member, weight in made.members},
        backtest=backtest_of(made),
        notes=list(made.notes),
        missing=Missing(past.answer.missing_files, past.answer.missing_rows),
        unpriced_requests=past.answer.unpriced_requests,
    )  # fmt: skip


def metric_of(asked: str) -> str:
    """Return the metric that goes by a name. Raises `Invalid`."""
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - the lake's libraries load with the first question

    name = ALIASES.get(asked, asked)
    if name not in METRICS:
        raise Invalid(f"There is no metric '{name[:60]}'.", hint=f"One of: {', '.join(METRICS)}.", code="metric")
    return name


def history(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, filters: Sequence[str], name: str, grain: str, now: datetime
) -> History:
    """Read the whole steps before now. Steps before the first call are none of the history."""
    return history_where(bench, where(caller, filters), name, grain, now)


def history_where(
    bench: Workbench, wanted: dict[str, tuple[str | None, ...]], name: str, grain: str, now: datetime
) -> History:
    """Read the whole steps before now, of calls that the proxy itself asks about or a caller may see."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question

    answer = numbers.timeseries(bench.lake, history_query(wanted, name, grain, now), bench.compute)
    found = series_of(answer.frame, name, answer)
    if found is None:
        raise NotEnoughData(
            f"No call lies in the {HISTORY[grain].days} days before this {grain}.",
            hint="Make calls through the proxy, or choose another filter; a forecast needs some days of them.",
        )
    return found


def history_query(wanted: dict[str, tuple[str | None, ...]], name: str, grain: str, now: datetime) -> Query:
    """Return the question for the whole steps before now."""
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - the lake's libraries load with the first question

    end = floor(now, grain)
    return Query(
        metrics=tuple(dict.fromkeys((name, "requests", "total_tokens"))),
        start=end - HISTORY[grain],
        end=end,
        grain=grain,
        where=wanted,
        time_zone=now.tzinfo.key,  # type: ignore[union-attr] # a ZoneInfo
    )


def series_of(frame: pl.DataFrame, name: str, answer: Answer) -> History | None:
    """Return the steps of a frame from the first call on; None without one."""
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question
    import polars as pl  # noqa: PLC0415 - see above

    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    frame = frame.sort("step_at")
    called = frame["requests"].to_numpy() > 0
    if not called.any():
        return None
    frame = frame[int(np.argmax(called)) :]
    value = pl.col(name).cast(pl.Float64)
    if METRICS[name].adds:  # where no call was made nothing was spent: that is known
        value = pl.when(pl.col("requests") == 0).then(0.0).otherwise(value)
    told = frame.select(
        value.fill_null(float("nan")).alias("value"), pl.col("total_tokens").cast(pl.Float64).fill_null(0)
    )
    return History(told["value"].to_numpy(), told["total_tokens"].to_numpy(), frame["step_at"].to_list(), answer,
                   frame["requests"].to_numpy())  # fmt: skip


@lru_cache(maxsize=64)
def made_of(  # noqa: PLR0917 - what a forecast is kept by
    values: bytes, tokens: bytes, steps: int, grain: Literal["hour", "day"], cost: bool, prior: bytes = b""
) -> Forecast:
    """Forecast; kept until the history moves on by a step."""
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    from ultimate_lib.analytics import forecast as forecasting  # noqa: PLC0415 - see above

    series: NDArray[np.float64] = np.frombuffer(values)
    others: NDArray[np.float64] | None = np.frombuffer(prior) if prior else None
    if cost:
        return forecasting.of_cost(np.frombuffer(tokens), series, steps, step=grain, prior=others)
    return forecasting.forecast(series, steps, step=grain, prior=others)


def others_week(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, filters: Sequence[str], name: str, grain: str, now: datetime, past: History
) -> bytes:
    """Return the week of the caller's other calls, for days of a filter that has had less than two; else nothing."""
    from ultimate_lib.analytics.members import pooled  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    if not filters or grain != "day" or len(past.values) >= _OWN_DAYS or not METRICS[name].adds:
        return b""
    week = pooled.week_of(past.values, history(bench, caller, (), name, grain, now).values)
    return b"" if week is None else week.tobytes()


def _concerned(bench: Workbench, caller: Caller, asked: AskedForecast, name: str) -> list[BudgetState]:
    """Return the budgets that count the very calls that are forecast, and no others."""
    unit = {"cost_usd": "nano_usd", "total_tokens": "tokens"}.get(name)
    told = where(caller, asked.filter)
    if unit is None or len(told) > 1 or any(len(values) != 1 for values in told.values()):
        return []
    subject, values = next(iter(told.items()), ("global", (None,)))
    return [
        one
        for one in limits.states(bench, caller)
        if one.enabled and one.unit == unit and one.subject == subject and None not in {one.amount, one.spent}
        and (subject == "global" or one.subject_id == values[0])
    ]  # fmt: skip


def steps_until(budget: BudgetState, now: datetime, grain: str) -> int:
    """Return how many steps there are until a budget's period ends."""
    if budget.period_end is None:
        return _LONGEST_BUDGET[grain]
    length = timedelta(hours=1) if grain == "hour" else timedelta(days=1)
    return min(max(-(-(budget.period_end - floor(now, grain)) // length), 1), _LONGEST_BUDGET[grain])


def budget_outlook(budget: BudgetState, made: Forecast, later: list[datetime], now: datetime) -> BudgetOutlook:
    """Return what becomes of a budget whose amount is known; `later` are the starts of the steps from now on."""
    from ultimate_lib.analytics import outlook  # noqa: PLC0415 - the lake's libraries load with the first question

    assert budget.amount is not None  # noqa: S101 - what is not told of is left out above
    end = budget.period_end
    steps = next((at for at, when in enumerate(later) if end is not None and when >= end), len(later) - 1)
    scale = _NANO if budget.unit == "nano_usd" else 1.0
    point, paths = made.expected[:steps].copy(), made.paths[:, :steps].copy()
    left = left_of(later, now)
    point[0] *= left
    paths[:, 0] *= left
    spent = budget.spent or 0
    found = outlook.exhaustion(paths, (budget.amount - spent) / scale)
    when = [None if at is None else max(later[at], now) for at in (found.likely, found.early, found.late)]
    rest = outlook.total(point, paths)
    in_all = [
        None if end is None else spent + max(round(one * scale), 0)
        for one in (rest.value, rest.lower_80, rest.upper_80)
    ]
    return BudgetOutlook(
        id=budget.id, name=budget.name, amount=budget.amount, unit=budget.unit, spent=budget.spent,
        period_end=end, until=later[steps], probability=found.probability,
        expected=in_all[0], lower_80=in_all[1], upper_80=in_all[2],
        exhausted_at=when[0], earliest_80=when[1], latest_80=when[2], risk_level=outlook.risk_of(found.probability),
    )  # fmt: skip


def _risk(outlooks: list[BudgetOutlook], past: History, made: Forecast, steps: int) -> tuple[str, str]:
    from ultimate_lib.analytics import outlook  # noqa: PLC0415 - the lake's libraries load with the first question

    if outlooks:
        worst = max(outlooks, key=lambda one: one.probability)
        name = worst.name or worst.id
        return (
            worst.risk_level,
            f"The budget '{name}' is spent by {worst.until:%Y-%m-%d} in {worst.probability:.0%} of futures.",
        )
    found = outlook.risk_by_history(past.values, float(made.expected[:steps].sum()), steps)
    if found is None:
        return "unknown", "There is no budget of these calls, and too little history to say what is unusual."
    return found, "There is no budget of these calls: the total beside the history's own totals over as long a time."


def _summary(made: Forecast, steps: int, *, counted: bool, cost: bool) -> Summary:
    from ultimate_lib.analytics import outlook  # noqa: PLC0415 - the lake's libraries load with the first question

    mean = float((made.expected if counted else made.point)[:steps].mean())
    if not counted:
        nothing = {"total": None, "lower_80": None, "upper_80": None, "lower_95": None, "upper_95": None}
        return Summary(**nothing, mean=mean, total_cost=None)
    found = outlook.total(made.expected[:steps], made.paths[:, :steps])
    return Summary(
        total=found.value, lower_80=found.lower_80, upper_80=found.upper_80, lower_95=found.lower_95,
        upper_95=found.upper_95, mean=mean, total_cost=found.value if cost else None,
    )  # fmt: skip


def _rows(made: Forecast, later: list[datetime], steps: int) -> list[Step]:
    (low80, high80), (low95, high95) = ((made.lower[level], made.upper[level]) for level in (0.8, 0.95))
    return [
        Step(
            step_at=later[at], value=float(made.point[at]), naive=float(made.naive[at]),
            lower_80=float(low80[at]), upper_80=float(high80[at]),
            lower_95=float(low95[at]), upper_95=float(high95[at]),
        )
        for at in range(steps)
    ]  # fmt: skip


def backtest_of(made: Forecast) -> Backtest | None:
    """Return how a forecast's method did before; None when that could not be tested."""
    found = made.accuracy
    if found is None:
        return None
    return Backtest(
        origins=found.origins, steps=found.horizon, mase=found.mase, naive_mase=found.naive_mase,
        ratio_to_naive=found.ratio, coverage_80=found.coverage[0.8], coverage_95=found.coverage[0.95],
    )  # fmt: skip

"""Warning and critical thresholds of the running day, week or month, from the forecast of what is left of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from proxy_server.control.api.analytics import Filter, where
from proxy_server.control.api.predictive import (
    Backtest,
    backtest_of,
    history,
    made_of,
    metric_of,
    others_week,
)
from proxy_server.control.api.span import zone_of
from proxy_server.control.api.steps import floor, later_of, left_of
from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Invalid
from ultimate_lib.limits.calendar import span

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench


class AskedThresholds(Struct, kw_only=True):
    """Which thresholds."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests …: what adds up.")] = "cost_usd"
    period: Annotated[str, Meta(description="day, week or month.", pattern="^(day|week|month)$")] = "day"
    filter: Filter = ()


class ThresholdsTold(Struct, kw_only=True):
    """The thresholds of a period: above `warning` lie 10 % of what it may become, above `critical` 1 %."""

    metric: str
    unit: str
    period: str
    period_start: datetime
    period_end: datetime
    so_far: float | None  # null: what has been is not known, and so neither is what follows from it
    expected: float | None
    warning: float | None
    critical: float | None
    method: str
    backtest: Backtest | None
    notes: list[str]
    unpriced_requests: int


def thresholds(bench: Workbench, caller: Caller, asked: AskedThresholds) -> ThresholdsTold:
    """Return thresholds for the period that is running. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.analytics import outlook  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - see above
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - see above
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    name = metric_of(asked.metric)
    if not METRICS[name].adds:
        raise Invalid(f"'{name}' does not add up over a period.", hint="Ask for cost_usd, total_tokens or requests.")
    billing = bench.settings.billing
    running = span(asked.period, bench.clock.now_us(), billing)
    begin, end = to_datetime(running.start_us), to_datetime(running.end_us)
    grain = "hour" if asked.period == "day" else "day"
    now = bench.clock.now().astimezone(zone_of(billing.time_zone))
    past = history(bench, caller, asked.filter, name, grain, now)
    steps = sum(at < end for at in later_of(floor(now, grain), now.tzinfo, grain, 31))  # type: ignore[arg-type] # a ZoneInfo
    prior = others_week(bench, caller, asked.filter, name, grain, now, past)
    made = made_of(past.values.tobytes(), past.tokens.tobytes(), steps, grain, name == "cost_usd", prior)
    edges = later_of(floor(now, grain), now.tzinfo, grain, 1)  # type: ignore[arg-type] # a ZoneInfo
    left = left_of(edges, now)
    point, paths = made.expected.copy(), made.paths.copy()
    point[0] *= left
    paths[:, 0] *= left
    query = Query(
        metrics=tuple(dict.fromkeys((name, "requests"))),
        start=begin,
        end=now.astimezone(UTC),
        where=where(caller, asked.filter),
    )
    told = numbers.aggregate(bench.lake, query, bench.compute)
    has_been, calls = told.frame[name][0], told.frame["requests"][0]
    so_far = float(has_been) if has_been is not None else None if calls else 0.0
    found = None if so_far is None else outlook.thresholds(so_far, point, paths)
    return ThresholdsTold(
        metric=name, unit=METRICS[name].unit, period=asked.period, period_start=begin, period_end=end, so_far=so_far,
        expected=found and found.expected, warning=found and found.warning, critical=found and found.critical,
        method=made.method,
        backtest=backtest_of(made), notes=list(made.notes), unpriced_requests=told.unpriced_requests,
    )  # fmt: skip

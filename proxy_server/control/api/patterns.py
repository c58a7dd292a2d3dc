"""Patterns of a metric over REST: the shape of its days and weeks, and when its level changed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from proxy_server.control.api.analytics import Filter, Zone
from proxy_server.control.api.predictive import history, metric_of
from proxy_server.control.api.span import zone_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from proxy_server.control.answers import Caller
    from proxy_server.control.api.predictive import History
    from ultimate_lib.analytics.patterns import Cycle
    from ultimate_lib.workbench import Workbench


class AskedPatterns(Struct, kw_only=True):
    """Whose patterns."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests, latency_p95_ms …")] = "requests"
    time_zone: Zone = ""
    filter: Filter = ()


class CycleTold(Struct, kw_only=True):
    """A cycle: the mean at each place (hour, or weekday from Monday), and how sure it is that there is one."""

    there: bool
    strength: float  # share of the variance that it explains
    p_value: float
    cycles: int
    means: list[float]


class ChangeTold(Struct, kw_only=True):
    """A day on which the level changed for good, and by how much: new over old."""

    day: date
    ratio: float


class PatternsTold(Struct, kw_only=True):
    """Patterns of the last 60 days; `weekly` is null with under three weeks."""

    metric: str
    unit: str
    time_zone: str
    first_day: date
    last_day: date
    daily: CycleTold
    weekly: CycleTold | None
    peak_hours: list[int]  # above 1.25 of the mean
    quiet_hours: list[int]  # below half of the mean
    weekday_mean: float | None  # a day's, Monday to Friday
    weekend_mean: float | None
    changes: list[ChangeTold]
    unpriced_requests: int


def patterns(bench: Workbench, caller: Caller, asked: AskedPatterns) -> PatternsTold:
    """Return the patterns of whole days before today. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.analytics import patterns as finding  # noqa: PLC0415 - the lake's libraries load with it
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    name = metric_of(asked.metric)
    zone = zone_of(asked.time_zone or bench.settings.billing.time_zone)
    past = history(bench, caller, asked.filter, name, "hour", bench.clock.now().astimezone(zone))
    first, hours = days_of(past, adds=METRICS[name].adds)
    found = finding.patterns(hours, first.weekday())
    return PatternsTold(
        metric=name,
        unit=METRICS[name].unit,
        time_zone=zone.key,
        first_day=first,
        last_day=first + timedelta(days=len(hours) // 24 - 1),
        daily=_cycle(found.daily),
        weekly=None if found.weekly is None else _cycle(found.weekly),
        peak_hours=list(found.peak_hours),
        quiet_hours=list(found.quiet_hours),
        weekday_mean=found.weekday_mean,
        weekend_mean=found.weekend_mean,
        changes=[ChangeTold(day=first + timedelta(days=one.day), ratio=one.ratio) for one in found.changes],
        unpriced_requests=past.answer.unpriced_requests,
    )


def days_of(past: History, *, adds: bool) -> tuple[date, NDArray[np.float64]]:
    """Return whole days of 24 hours by the clock on the wall: an hour that a clock change left out is unknown.

    Of an hour that came twice both count where the metric `adds`; otherwise the later one does.
    """
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    first = past.at[0].date() + timedelta(days=past.at[0].hour > 0)
    count = max((past.at[-1].date() - first).days + (past.at[-1].hour == 23), 0)  # noqa: PLR2004 - the last hour
    hours = np.full((count, 24), np.nan)
    for at, value in zip(past.at, past.values, strict=True):
        day = (at.date() - first).days
        if 0 <= day < count:
            before = hours[day, at.hour] if adds else np.nan
            hours[day, at.hour] = value if np.isnan(before) else value + before
    return first, hours.ravel()


def _cycle(found: Cycle) -> CycleTold:
    return CycleTold(
        there=found.there, strength=found.strength, p_value=found.p, cycles=found.cycles, means=list(found.means)
    )

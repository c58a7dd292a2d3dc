"""Anomalies of a metric over REST: minutes, hours or days unlike those before, why, and whose calls made them.

With `by` each value of a dimension is a series of its own: the largest ones, and how many were left out is told.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from proxy_server.control.api.analytics import Filter, Zone, plain, where
from proxy_server.control.api.predictive import history, history_query, metric_of, series_of
from proxy_server.control.api.span import zone_of
from ultimate_lib.errors import Invalid, NotEnoughData

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from proxy_server.control.api.predictive import History
    from ultimate_lib.analytics.anomalies.batch import Judged
    from ultimate_lib.workbench import Workbench

_MOST_NAMED = 20  # of the newest it is said whose calls they were
_DIMENSIONS = ("model", "project", "notebook", "key")
_STEP = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_MOST_MINUTES_DAYS = 3
_USUAL_DAYS = {"minute": _MOST_MINUTES_DAYS, "hour": 30, "day": 30}


class AskedAnomalies(Struct, kw_only=True):
    """Where to look."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests, latency_p95_ms …")] = "cost_usd"
    grain: Annotated[str, Meta(description="minute, hour or day.", pattern="^(minute|hour|day)$")] = "hour"
    days: Annotated[
        Annotated[int, Meta(ge=1, le=800)] | None,
        Meta(description="How many days back are told; default: 30, of minutes 3, which is the most."),
    ] = None
    method: Annotated[str, Meta(description="series, zscore or mad.")] = "series"
    by: Annotated[str, Meta(description="A dimension each of whose values is a series of its own.")] = ""
    groups: Annotated[int, Meta(ge=1, le=20, description="Most of them, the largest first.")] = 10
    time_zone: Zone = ""
    filter: Filter = ()


class Part(Struct, kw_only=True):
    """The value of a dimension that made most of a step; null: calls without one."""

    dimension: str
    value: str | None
    share: float


class AnomalyTold(Struct, kw_only=True):
    """One step that is unlike those before it; bounds are null where nothing was expected.

    With `within` the value by itself is usual, and what is not are the steps up to it together (`reason`): their
    level, or how much they change. No bounds are told then: they were not violated.
    """

    step_at: datetime
    group: str | None  # the value of `by`; null without, and for calls without one
    value: float
    expected_low: float | None
    expected_high: float | None
    within: bool
    score: float
    reason: str
    made_by: list[Part]  # of the newest, and of what adds up


class GroupTold(Struct, kw_only=True):
    """One series of `by`."""

    value: str | None
    share: float | None  # of the metric, or of the calls where that does not add up
    learnt: int
    judged: int
    anomalies: int


class LeftOut(Struct, kw_only=True):
    """What was too small to be looked at."""

    groups: int
    share: float | None


class AnomalyHistory(Struct, kw_only=True):
    """Anomalies, the newest first."""

    metric: str
    unit: str
    grain: str
    time_zone: str
    start: datetime
    end: datetime
    judged_from: datetime | None  # the first step that was; null: none was
    method: str
    threshold: float
    learnt: int  # steps that came before any was judged; of all series
    judged: int
    by: str | None
    groups: list[GroupTold]
    left_out: LeftOut
    anomalies: list[AnomalyTold]


class _Series(NamedTuple):
    """One series, judged."""

    value: str | None
    past: History
    learnt: int
    found: Judged
    called: bool  # no step without a call is told: of minutes, and of groups, most have none

    def since(self, at: datetime) -> list[int]:
        """Return the anomalies from an instant on."""
        return [
            place
            for place in self.found.anomaly.nonzero()[0].tolist()
            if self.past.at[place] >= at and (self.past.calls[place] > 0 or not self.called)
        ]


def history_of(bench: Workbench, caller: Caller, asked: AskedAnomalies) -> AnomalyHistory:
    """Return the anomalies of the last days. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.analytics.anomalies import batch  # noqa: PLC0415 - the lake's libraries load with it
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    _check(asked, sorted(batch.DETECTORS.names()))
    name = metric_of(asked.metric)
    zone = zone_of(asked.time_zone or bench.settings.billing.time_zone)
    now = bench.clock.now().astimezone(zone)
    since = now - timedelta(days=asked.days or _USUAL_DAYS[asked.grain])
    shares: dict[str | None, float | None] = {}
    if asked.by:
        pasts = _groups(bench, caller, asked, name, now)
        shares = _shares(bench, caller, asked, name, now)
    else:
        pasts = {None: history(bench, caller, asked.filter, name, asked.grain, now)}
    series = [_judged(value, past, asked) for value, past in pasts.items()]
    told = sorted(((one, at) for one in series for at in one.since(since)), key=lambda it: it[0].past.at[it[1]])[::-1]
    first = min(one.past.at[0] for one in series).astimezone(UTC)
    begun = [one.past.at[one.learnt] for one in series if len(one.past.at) > one.learnt]
    shown = [one.value for one in series]
    left = [share for value, share in shares.items() if value not in shown]
    return AnomalyHistory(
        metric=name,
        unit=METRICS[name].unit,
        grain=asked.grain,
        time_zone=zone.key,
        start=max(since.astimezone(UTC), first),
        end=step_end(max(one.past.at[-1] for one in series), asked.grain),
        judged_from=max(min(begun), since) if begun else None,
        method=asked.method,
        threshold=batch.DETECTORS.get(asked.method).THRESHOLD,
        learnt=sum(min(one.learnt, len(one.past.at)) for one in series),
        judged=sum(max(len(one.past.at) - one.learnt, 0) for one in series),
        by=asked.by or None,
        groups=[_group(one, shares.get(one.value), since) for one in series] if asked.by else [],
        left_out=LeftOut(groups=len(left), share=None if None in left else sum(one or 0.0 for one in left)),
        anomalies=[
            _told(bench, caller, asked, name, one, at, named=number < _MOST_NAMED)
            for number, (one, at) in enumerate(told)
        ],
    )


def _check(asked: AskedAnomalies, methods: list[str]) -> None:
    from ultimate_lib.lake.query import known  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.metrics import DIMENSIONS  # noqa: PLC0415 - see above

    if asked.method not in methods:
        raise Invalid(
            f"There is no detector '{asked.method[:60]}'.", hint=f"One of: {', '.join(methods)}.", code="method"
        )
    if asked.by:
        known("dimension", asked.by, DIMENSIONS)
    most = _MOST_MINUTES_DAYS
    if asked.days is not None and asked.grain == "minute" and asked.days > most:
        raise Invalid(f"Minutes are told of the last {most} days, and not of {asked.days}.", hint="Ask for hours.")


def _groups(
    bench: Workbench, caller: Caller, asked: AskedAnomalies, name: str, now: datetime
) -> dict[str | None, History]:
    """Return the largest groups' series. Raises `NotEnoughData` where there is none."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question

    query = history_query(where(caller, asked.filter), name, asked.grain, now)
    query = msgspec.structs.replace(query, by=(asked.by,), order_by=_size(name), limit=asked.groups)
    answer = numbers.timeseries(bench.lake, query, bench.compute)
    found = {}
    for (value,), frame in answer.frame.partition_by(asked.by, as_dict=True, maintain_order=True).items():
        past = series_of(frame, name, answer)
        if past is not None:
            found[value] = past
    if not found:
        raise NotEnoughData(
            f"No call lies in the days before this {asked.grain}.",
            hint="Make calls through the proxy, or choose another filter.",
        )
    return found


def _shares(
    bench: Workbench, caller: Caller, asked: AskedAnomalies, name: str, now: datetime
) -> dict[str | None, float | None]:
    """Return every group's share of the metric, or of the calls; null where it is not known."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import MOST_GROUPS  # noqa: PLC0415 - see above

    size = _size(name)
    query = history_query(where(caller, asked.filter), name, asked.grain, now)
    query = msgspec.structs.replace(query, metrics=(size,), grain=None, by=(asked.by,), limit=MOST_GROUPS)
    frame = numbers.breakdown(bench.lake, query, bench.compute).frame
    whole = frame[size].sum() or 0
    return {
        value: None if amount is None or whole <= 0 else float(amount / whole)
        for value, amount in zip(frame[asked.by], frame[size], strict=True)
    }


def _size(name: str) -> str:
    """Return by what groups are large: the metric, or the calls where that does not add up."""
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - the lake's libraries load with the first question

    return name if METRICS[name].adds else "requests"


def _judged(value: str | None, past: History, asked: AskedAnomalies) -> _Series:
    from ultimate_lib.analytics.anomalies import batch  # noqa: PLC0415 - the lake's libraries load with it

    learn = batch.learning(len(past.values), _STEP[asked.grain].total_seconds())
    times = tuple(at.timestamp() for at in past.at)
    found = judged_of(times, past.values.tobytes(), asked.method, learn)
    return _Series(value, past, learn, found, called=bool(asked.by) or asked.grain == "minute")


@lru_cache(maxsize=128)
def judged_of(times: tuple[float, ...], values: bytes, method: str, learn: int) -> Judged:
    """Judge a series; kept until its history moves on by a step."""
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    from ultimate_lib.analytics.anomalies import batch  # noqa: PLC0415 - see above

    return batch.detect(times, np.frombuffer(values), method=method, learn=learn)


def _group(one: _Series, share: float | None, since: datetime) -> GroupTold:
    count = len(one.past.at)
    return GroupTold(
        value=one.value,
        share=share,
        learnt=min(one.learnt, count),
        judged=max(count - one.learnt, 0),
        anomalies=len(one.since(since)),
    )


def _told(  # noqa: PLR0917 - the parts of a step
    bench: Workbench, caller: Caller, asked: AskedAnomalies, name: str, one: _Series, at: int, *, named: bool
) -> AnomalyTold:
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - the lake's libraries load with the first question

    adds, found = METRICS[name].adds, one.found
    filters = asked.filter
    if asked.by:  # in place of several values of the same dimension, which would mean or
        others = (told for told in asked.filter if not told.startswith(f"{asked.by}:"))
        filters = (*others, f"{asked.by}:{one.value or ''}")
    value = float(one.past.values[at])
    low, high = max(float(found.expected_low[at]), 0.0 if adds else -math.inf), float(found.expected_high[at])
    within = low <= value <= high
    return AnomalyTold(
        step_at=one.past.at[at],
        group=one.value,
        value=value,
        expected_low=None if within else plain(low),
        expected_high=None if within else plain(high),
        within=within,
        score=round(float(found.score[at]), 3),
        reason=found.reason[at],
        made_by=_made_by(bench, caller, asked, filters, name, one.past.at[at]) if adds and named else [],
    )


def _made_by(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, asked: AskedAnomalies, filters: tuple[str, ...], name: str, at: datetime
) -> list[Part]:
    """Return what made most of a step, by dimension."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - see above

    start, end = at.astimezone(UTC), step_end(at, asked.grain)
    parts = []
    for dimension in _DIMENSIONS:
        if dimension == asked.by:
            continue
        query = Query(
            metrics=(name,), start=start, end=end, by=(dimension,), where=where(caller, filters), order_by=name
        )
        frame = numbers.breakdown(bench.lake, query, bench.compute).frame
        total = float(frame[name].fill_null(0).sum())
        first = frame.row(0, named=True) if frame.height else None
        if first is not None and total > 0 and (frame.height > 1 or first[dimension] is not None):
            parts.append(Part(dimension=dimension, value=first[dimension], share=float(first[name] or 0) / total))
    return parts


def step_end(at: datetime, grain: str) -> datetime:
    """Return the end of the step that begins at `at`: of a day by the clock on the wall."""
    if grain == "day":
        return (at + _STEP["day"]).astimezone(UTC)
    return at.astimezone(UTC) + _STEP[grain]

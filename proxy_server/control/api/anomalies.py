"""Anomalies of a metric over REST: hours or days unlike those before, why, and whose calls made them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from proxy_server.control.api.analytics import Filter, Zone, plain, where
from proxy_server.control.api.predictive import history, metric_of
from proxy_server.control.api.span import zone_of
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

_MOST_NAMED = 20  # of the newest it is said whose calls they were
_DIMENSIONS = ("model", "project", "notebook", "key")


class AskedAnomalies(Struct, kw_only=True):
    """Where to look."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests, latency_p95_ms …")] = "cost_usd"
    grain: Annotated[str, Meta(description="hour or day.", pattern="^(hour|day)$")] = "hour"
    days: Annotated[int, Meta(ge=1, le=800, description="How many days back are told.")] = 30
    method: Annotated[str, Meta(description="series, zscore or mad.")] = "series"
    time_zone: Zone = ""
    filter: Filter = ()


class Part(Struct, kw_only=True):
    """The value of a dimension that made most of a step; null: calls without one."""

    dimension: str
    value: str | None
    share: float


class AnomalyTold(Struct, kw_only=True):
    """One step that is unlike those before it; bounds are null where nothing was expected."""

    step_at: datetime
    value: float
    expected_low: float | None
    expected_high: float | None
    score: float
    reason: str
    made_by: list[Part]  # of the newest, and of what adds up


class AnomalyHistory(Struct, kw_only=True):
    """Anomalies, the newest first."""

    metric: str
    unit: str
    grain: str
    time_zone: str
    start: datetime
    method: str
    threshold: float
    learnt: int  # steps that came before any was judged
    judged: int
    anomalies: list[AnomalyTold]


def history_of(bench: Workbench, caller: Caller, asked: AskedAnomalies) -> AnomalyHistory:
    """Return the anomalies of the last days. Raises `Invalid`, `NotEnoughData`."""
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    from ultimate_lib.analytics.anomalies import batch  # noqa: PLC0415 - see above
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    name = metric_of(asked.metric)
    zone = zone_of(asked.time_zone or bench.settings.billing.time_zone)
    if asked.method not in batch.DETECTORS.names():
        known = ", ".join(sorted(batch.DETECTORS.names()))
        raise Invalid(f"There is no detector '{asked.method[:60]}'.", hint=f"One of: {known}.", code="method")
    now = bench.clock.now().astimezone(zone)
    past = history(bench, caller, asked.filter, name, asked.grain, now)
    learn = batch.learning(len(past.values), 3600.0 if asked.grain == "hour" else 86400.0)
    found = batch.detect([at.timestamp() for at in past.at], past.values, method=asked.method, learn=learn)
    since = now - timedelta(days=asked.days)
    places = [at for at in np.flatnonzero(found.anomaly) if past.at[at] >= since][::-1]
    adds = METRICS[name].adds
    return AnomalyHistory(
        metric=name,
        unit=METRICS[name].unit,
        grain=asked.grain,
        time_zone=zone.key,
        start=max(since.astimezone(UTC), past.at[0].astimezone(UTC)),
        method=asked.method,
        threshold=batch.DETECTORS.get(asked.method).THRESHOLD,
        learnt=min(learn, len(past.values)),
        judged=max(len(past.values) - learn, 0),
        anomalies=[
            AnomalyTold(
                step_at=past.at[at],
                value=float(past.values[at]),
                expected_low=plain(max(float(found.expected_low[at]), 0.0 if adds else -math.inf)),
                expected_high=plain(float(found.expected_high[at])),
                score=round(float(found.score[at]), 3),
                reason=found.reason[at],
                made_by=_made_by(bench, caller, asked, name, past.at[at]) if adds and number < _MOST_NAMED else [],
            )
            for number, at in enumerate(places)
        ],
    )


def _made_by(bench: Workbench, caller: Caller, asked: AskedAnomalies, name: str, at: datetime) -> list[Part]:
    """Return what made most of a step, by dimension."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - see above

    start = at.astimezone(UTC)
    end = start + timedelta(hours=1) if asked.grain == "hour" else (at + timedelta(days=1)).astimezone(UTC)
    parts = []
    for dimension in _DIMENSIONS:
        query = Query(
            metrics=(name,), start=start, end=end, by=(dimension,), where=where(caller, asked.filter), order_by=name
        )
        frame = numbers.breakdown(bench.lake, query, bench.compute).frame
        total = float(frame[name].fill_null(0).sum())
        first = frame.row(0, named=True) if frame.height else None
        if first is not None and total > 0 and (frame.height > 1 or first[dimension] is not None):
            parts.append(Part(dimension=dimension, value=first[dimension], share=float(first[name] or 0) / total))
    return parts

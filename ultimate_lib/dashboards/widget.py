"""A widget: a query (a question to a small frame) and a view (the frame to a picture). Both pure, one file each.

A module of `widgets/` offers its widget as `WIDGET`; a stranger's package offers one under the entry point group
`ultimate_proxy.dashboard_widget`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ultimate_lib.dashboards.shapes import NONE, OTHER, Series
from ultimate_lib.dashboards.source import STEP
from ultimate_lib.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.shapes import Picture
    from ultimate_lib.dashboards.source import Source

GROUP = "group"
Size = Literal["third", "half", "most", "full"]
MOST_LAYERS = 7  # that can be told apart by colour and pattern; what is left is "Other"


@dataclass(frozen=True, slots=True)
class Widget:
    """One part of a dashboard."""

    title: Callable[[Question], str]
    query: Callable[[Source, Question], pl.DataFrame]
    view: Callable[[pl.DataFrame, Question], Picture | None]  # None: no calls in the span
    order: int  # place on the overview, from the top
    size: Size = "third"  # of the width, where there is room


WIDGETS: Registry[Widget] = Registry("dashboard_widget", "ultimate_lib.dashboards.widgets", "WIDGET")


def spanned(question: Question, *metrics: str) -> dict[str, Any]:
    """Return what a question asks of a source, for some metrics: arguments to be filled up."""
    return {
        "metrics": metrics,
        "start": question.start,
        "end": question.end,
        "where": question.where,
        "time_zone": question.zone,
    }


def layers_frame(source: Source, question: Question, metric: str) -> pl.DataFrame:
    """Return a row a step and group (`step_at`, `group`, the metric, `requests`): the largest groups and the rest.

    The rest is what the whole has beyond the largest, so that the layers add up to the total.
    """
    by = (question.group,)
    asked = spanned(question, metric, "requests")
    groups = source.timeseries(**asked, grain=question.grain, by=by, limit=MOST_LAYERS)
    groups = groups.select(STEP, pl.col(question.group).fill_null(NONE).alias(GROUP), metric, "requests")
    whole = source.timeseries(**asked, grain=question.grain)
    shown = groups.group_by(STEP).agg(pl.col(metric).sum(), pl.col("requests").sum())
    rest = whole.join(shown, on=STEP, how="left", suffix="_shown", maintain_order="left").select(
        STEP,
        pl.lit(OTHER).alias(GROUP),
        (pl.col(metric) - pl.col(f"{metric}_shown").fill_null(0)).alias(metric),
        (pl.col("requests") - pl.col("requests_shown").fill_null(0)).alias("requests"),
    )
    return pl.concat([groups, rest]) if rest["requests"].sum() else groups


def layers(frame: pl.DataFrame, metric: str) -> tuple[Series, ...]:
    """Return the layers of such a frame, the largest first, the rest last."""
    series = [
        Series(str(name), tuple(part[metric].to_list()))
        for (name,), part in frame.group_by([GROUP], maintain_order=True)
    ]
    return tuple(sorted(series, key=lambda one: (one.name == OTHER, -sum(value or 0 for value in one.values))))


def steps_of(frame: pl.DataFrame) -> tuple[datetime, ...]:
    """Return the steps of a frame, each once, in order."""
    return tuple(frame[STEP].unique(maintain_order=True).sort().to_list())

"""How long calls take: the 50th, 95th and 99th percentile by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.dashboards.shapes import Series, Steps
from ultimate_lib.dashboards.widget import Widget, spanned, steps_of

if TYPE_CHECKING:
    import polars as pl

    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source

_LINES = {"latency_p50_ms": "p50", "latency_p95_ms": "p95", "latency_p99_ms": "p99"}


def query(source: Source, question: Question) -> pl.DataFrame:
    """Return the percentiles by step; null where no call reached a provider."""
    return source.timeseries(**spanned(question, "requests", *_LINES), grain=question.grain)


def view(frame: pl.DataFrame, question: Question) -> Steps | None:
    """Return three lines with gaps where nothing is known."""
    if not frame["requests"].sum():
        return None
    series = tuple(Series(label, tuple(frame[name].to_list())) for name, label in _LINES.items())
    return Steps(
        "ms", question.grain, steps_of(frame), series, stacked=False, runs=question.runs, zone=question.zone,
        note="50, 95 and 99 % of the calls took at most this, first byte in to last byte out.",
    )  # fmt: skip


WIDGET = Widget(lambda _: "Latency", query, view, order=50)

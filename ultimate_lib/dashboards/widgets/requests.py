"""Requests over time: answered, failed, refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.dashboards.shapes import Series, Steps
from ultimate_lib.dashboards.widget import Widget, spanned, steps_of

if TYPE_CHECKING:
    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source


def query(source: Source, question: Question) -> pl.DataFrame:
    """Return requests, errors and refusals by step."""
    return source.timeseries(**spanned(question, "requests", "errors", "refused"), grain=question.grain)


def view(frame: pl.DataFrame, question: Question) -> Steps | None:
    """Return three layers that add up to all requests."""
    if not frame["requests"].sum():
        return None
    answered = frame.select((pl.col("requests") - pl.col("errors") - pl.col("refused")).alias("n"))["n"]
    series = (
        Series("Answered", tuple(answered.to_list())),
        Series("Errors", tuple(frame["errors"].to_list())),
        Series("Refused", tuple(frame["refused"].to_list())),
    )
    return Steps(
        "calls", question.grain, steps_of(frame), series, stacked=True, runs=question.runs, zone=question.zone
    )


WIDGET = Widget(lambda _: "Requests and errors", query, view, order=30)

"""Spend over time, stacked by what the dashboard tells calls apart by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.dashboards.question import GROUPS
from ultimate_lib.dashboards.shapes import Steps
from ultimate_lib.dashboards.widget import Widget, layers, layers_frame, steps_of

if TYPE_CHECKING:
    import polars as pl

    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source


def query(source: Source, question: Question) -> pl.DataFrame:
    """Return spend and requests by step and group."""
    return layers_frame(source, question, "cost_usd")


def view(frame: pl.DataFrame, question: Question) -> Steps | None:
    """Return a layer a group; a step without any priced call has no bar."""
    if not frame["requests"].sum():
        return None
    return Steps(
        "usd", question.grain, steps_of(frame), layers(frame, "cost_usd"), stacked=True, runs=question.runs,
        zone=question.zone,
    )  # fmt: skip


WIDGET = Widget(lambda q: f"Spend by {GROUPS[q.group].lower()}", query, view, order=10, size="most")

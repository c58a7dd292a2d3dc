"""Tokens over time: input, the part of it that came from the prompt cache, output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.dashboards.shapes import Series, Steps
from ultimate_lib.dashboards.widget import Widget, spanned, steps_of

if TYPE_CHECKING:
    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source

_METRICS = ("requests", "input_tokens", "cache_read_tokens", "output_tokens")


def query(source: Source, question: Question) -> pl.DataFrame:
    """Return tokens by step."""
    return source.timeseries(**spanned(question, *_METRICS), grain=question.grain)


def view(frame: pl.DataFrame, question: Question) -> Steps | None:
    """Return three layers; input that came from the cache is counted once."""
    if not frame["requests"].sum():
        return None
    fresh = frame.select((pl.col("input_tokens") - pl.col("cache_read_tokens").fill_null(0)).alias("n"))["n"]
    series = (
        Series("Input", tuple(fresh.to_list())),
        Series("Input from cache", tuple(frame["cache_read_tokens"].to_list())),
        Series("Output", tuple(frame["output_tokens"].to_list())),
    )
    return Steps(
        "tokens", question.grain, steps_of(frame), series, stacked=True, runs=question.runs, zone=question.zone
    )


WIDGET = Widget(lambda _: "Tokens", query, view, order=40)

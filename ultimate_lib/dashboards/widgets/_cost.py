"""Cost by one dimension, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.dashboards.question import GROUPS
from ultimate_lib.dashboards.shapes import NONE, OTHER, Bar, Bars
from ultimate_lib.dashboards.widget import GROUP, Widget, spanned

if TYPE_CHECKING:
    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source
    from ultimate_lib.dashboards.widget import Size

_MOST_BARS = 8
_METRICS = ("cost_usd", "requests", "unpriced_requests")


def cost_by(dimension: str, order: int, size: Size = "third") -> Widget:
    """Return the widget for a dimension."""

    def query(source: Source, question: Question) -> pl.DataFrame:
        asked = spanned(question, *_METRICS)
        groups = source.breakdown(**asked, by=(dimension,), limit=_MOST_BARS, order_by="cost_usd")
        groups = groups.select(pl.col(dimension).fill_null(NONE).alias(GROUP), *_METRICS)
        whole = source.aggregate(**asked).select(pl.lit(None, pl.String()).alias(GROUP), *_METRICS)
        return pl.concat([groups, whole])

    def view(frame: pl.DataFrame, _question: Question) -> Bars | None:
        *groups, whole = frame.to_dicts()
        if not whole["requests"]:
            return None
        bars = [Bar(row[GROUP], row["cost_usd"], _note(row)) for row in groups]
        rest = whole["requests"] - sum(row["requests"] for row in groups)
        if rest > 0:
            shown = sum(row["cost_usd"] or 0.0 for row in groups)
            left = None if whole["cost_usd"] is None else max(0.0, whole["cost_usd"] - shown)
            bars.append(Bar(OTHER, left, f"{rest:,} call{'s' if rest > 1 else ''}"))
        return Bars("usd", GROUPS[dimension], tuple(bars), whole["cost_usd"])

    return Widget(lambda _: f"Cost by {GROUPS[dimension].lower()}", query, view, order=order, size=size)


def _note(row: dict[str, int]) -> str:
    calls = f"{row['requests']:,} call{'s' if row['requests'] != 1 else ''}"
    return f"{calls}, {row['unpriced_requests']:,} unpriced" if row["unpriced_requests"] else calls

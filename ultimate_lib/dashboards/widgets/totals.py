"""Large numbers, each beside the span before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.dashboards.shapes import Figure, Figures
from ultimate_lib.dashboards.widget import Widget, spanned

if TYPE_CHECKING:
    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source

METRICS = (
    "cost_usd",
    "requests",
    "total_tokens",
    "errors",
    "error_ratio",
    "latency_p95_ms",
    "cache_hit_ratio",
    "unpriced_requests",
)


def query(source: Source, question: Question) -> pl.DataFrame:
    """Return two rows: the span, and the one before it."""
    asked = spanned(question, *METRICS)
    now = source.aggregate(**asked)
    start, end = question.before
    before = source.aggregate(**{**asked, "start": start, "end": end})
    return pl.concat([now, before])


def view(frame: pl.DataFrame, question: Question) -> Figures:
    """Return spend, requests, tokens, errors and latency; unpriced calls are told under the spend."""
    now, before = frame.to_dicts()
    unpriced = int(now["unpriced_requests"] or 0)
    spend = now["cost_usd"] if now["requests"] else 0.0
    return Figures(
        (
            Figure(
                "Spend", spend, "usd", before["cost_usd"], _unpriced(unpriced, int(now["requests"] or 0)), "worse"
            ),
            Figure("Requests", now["requests"], "calls", before["requests"]),
            Figure(
                "Tokens",
                now["total_tokens"] if now["requests"] else 0,
                "tokens",
                before["total_tokens"],
                _cached(now),
            ),
            Figure("Errors", now["errors"], "calls", before["errors"], _share(now), "worse"),
            Figure("Latency p95", now["latency_p95_ms"], "ms", before["latency_p95_ms"], "", "worse"),
        ),
        _words(question),
    )


def _unpriced(unpriced: int, requests: int) -> str:
    if not requests:
        return ""
    if not unpriced:
        return "every call is priced"
    return f"without {unpriced:,} unpriced call{'s' if unpriced > 1 else ''}"


def _cached(now: dict[str, float | None]) -> str:
    ratio = now["cache_hit_ratio"]
    return f"{ratio:.0%} of the input from cache" if ratio else ""


def _share(now: dict[str, float | None]) -> str:
    ratio = now["error_ratio"]
    return "" if ratio is None else f"{ratio:.1%} of the requests"


def _words(question: Question) -> str:
    return "yesterday by this time" if question.words == "today" else "the span before"


WIDGET = Widget(lambda _: "In short", query, view, order=0, size="full")

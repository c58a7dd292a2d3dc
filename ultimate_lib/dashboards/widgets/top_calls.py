"""The costliest among the latest calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ultimate_lib.dashboards import units
from ultimate_lib.dashboards.shapes import Grid
from ultimate_lib.dashboards.widget import Widget, spanned

if TYPE_CHECKING:
    import polars as pl

    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.source import Source

_LATEST = 100
_SHOWN = 8
_NANO = 1_000_000_000
_HEADER = ("Time", "Model", "Provider", "Project", "Outcome", "Input", "Output", "Cost", "Took")


def query(source: Source, question: Question) -> pl.DataFrame:
    """Return the latest calls of the span."""
    return source.calls(**{**spanned(question), "limit": _LATEST})


def view(frame: pl.DataFrame, question: Question) -> Grid | None:
    """Return the costliest of them, the newest first among equals; those without a known price last."""
    if frame.is_empty():
        return None
    shown = frame.sort("cost_nano_usd", "started_at", descending=True, nulls_last=True).head(_SHOWN)
    zone = ZoneInfo(question.zone)
    rows = tuple(_row(call, zone) for call in shown.iter_rows(named=True))
    count = frame.height
    note = f"Among the latest {count} calls of the span." if count == _LATEST else ""
    return Grid(_HEADER, rows, frozenset({5, 6, 7, 8}), f"{note} Times are in {question.zone}.".strip())


def _row(call: dict[str, Any], zone: ZoneInfo) -> tuple[str, ...]:
    nano = call["cost_nano_usd"]
    at = call["started_at"].astimezone(zone)
    return (
        f"{at:%Y-%m-%d %H:%M:%S}",
        call["model_routed"] or call["model_requested"] or units.UNKNOWN,
        call["provider"] or units.UNKNOWN,
        call["project"] or "",
        call["status"] or units.UNKNOWN,
        units.exact(call["input_tokens"], "tokens"),
        units.exact(call["output_tokens"], "tokens"),
        units.exact(None if nano is None else nano / _NANO, "usd"),
        units.short(call["duration_ms"], "ms"),
    )


WIDGET = Widget(lambda _: "Costliest of the latest calls", query, view, order=80, size="full")

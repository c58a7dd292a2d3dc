"""`analytics`: metrics over a span of time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, cell
from claude_proxy.cli.parser import add_span, command, filters_of
from claude_proxy.errors import BadRequest
from claude_proxy.frames import instant

if TYPE_CHECKING:
    from claude_proxy.answers import Rows
    from claude_proxy.cli.output import Output
    from claude_proxy.cli.session import Session

_GRAINS = ("minute", "hour", "day", "week", "month")


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "analytics",
        _analytics,
        says="Requests, tokens, cost, errors, latency over a span: in all, by group, or step by step.",
        example="claude-proxy analytics --start 2026-01-01 --end 2026-01-05",
    )
    add_span(parser, "24 hours back; with --grain 7 days")
    parser.add_argument(
        "--by", metavar="NAMES", help="one row a group: model, provider, key, user, team, project, tag …"
    )
    parser.add_argument("--metrics", metavar="NAMES", help="between commas, e.g. requests,cost_usd,latency_p95_ms")
    parser.add_argument("--grain", choices=_GRAINS, help="one row a step of time")
    parser.add_argument("--order-by", metavar="NAME", help="metric to order groups by; -NAME: smallest first")
    parser.add_argument("--top", action="store_true", help="the largest groups alone, 20 if --limit says nothing")
    parser.add_argument("--limit", type=int, metavar="N", help="most rows, or with --grain most groups")


def _analytics(session: Session) -> int:
    asked = session.arguments
    question: dict[str, Any] = {
        "metrics": asked.metrics,
        "filter": filters_of(asked),
        "limit": asked.limit,
        "time_zone": asked.time_zone,
    }
    client = session.client
    if asked.top and not asked.by:
        raise BadRequest("--top needs --by.", hint="Say what the groups are: --by model.", code="usage")
    if asked.top:
        answer = client.get_breakdown(asked.by, asked.start, asked.end, order_by=asked.order_by, **question)
    elif asked.grain:
        answer = client.get_timeseries(asked.start, asked.end, grain=asked.grain, by=asked.by, **question)
    else:
        answer = client.get_aggregate_stats(asked.start, asked.end, by=asked.by, order_by=asked.order_by, **question)
    show(session.output, answer, one=not (asked.by or asked.grain), demo=client.demo)
    return 0


def show(output: Output, answer: Rows, *, one: bool, demo: bool) -> None:
    """Show rows of numbers: one row as a list of metrics, several as a table."""
    units = answer["units"]
    rows = answer["rows"]
    names = list(rows[0]) if rows else list(units)
    columns = shown.columns(names, units)
    if output.form == "table":
        output.line(output.paint(f"{span(answer)}{' · demo data' if demo else ''}", "dim"))
    if output.form == "table" and "step_at" in names:
        rows = [row for row in rows if any(_is_something(row[name], units[name]) for name in units)]
    if one and len(rows) == 1 and output.form == "table":
        told = [(column.title, cell(column, rows[0][column.name]), rows[0][column.name]) for column in columns]
        output.pairs(told, document=None, right=True)
    else:
        output.rows(columns, rows, document=answer, empty="No calls.")
        left_out = len(answer["rows"]) - len(rows)
        if rows and left_out:
            output.line(output.paint(f"{left_out:,} steps without calls are left out.", "dim"))
    if one and rows and rows[0].get("requests") == 0:
        output.note("No calls.")
    notes(output, answer)


def _is_something(value: float | None, unit: str) -> bool:
    """Say whether a figure tells of calls: there is none for a ratio or a duration without them."""
    return value is not None and (value != 0 or unit not in {"calls", "tokens", "usd"})


def notes(output: Output, answer: Rows) -> None:
    """Say what the figures do not contain."""
    unpriced, missing = answer.get("unpriced_requests") or 0, answer.get("missing") or {}
    if unpriced and any(unit == "usd" for unit in answer["units"].values()):
        output.note(f"{unpriced:,} {'call' if unpriced == 1 else 'calls'} of unknown cost: not in the cost above.")
    if missing.get("files"):
        rows = missing.get("rows")
        lost = UNKNOWN if rows is None else f"{rows:,}"
        output.note(f"Damaged files were left out: {missing['files']:,}, with {lost} calls.")


def span(answer: Rows) -> str:
    """Return the span of an answer in words; a last day that is whole is named by itself."""
    zone, told = zone_of(answer["time_zone"])
    start, end = (instant(answer[name]).astimezone(told) for name in ("start", "end"))
    if start.time() == end.time() == datetime.min.time():
        last = end - timedelta(days=1)
        days = f"{start:%Y-%m-%d}" if last.date() == start.date() else f"{start:%Y-%m-%d} to {last:%Y-%m-%d}"
        return f"{days} ({zone})"
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({zone})"


def zone_of(name: str) -> tuple[str, tzinfo]:
    """Return a time zone and its name; UTC where this computer has no list of zones, as in small containers."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - loads with the first answer

    try:
        return name, ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC", timezone.utc

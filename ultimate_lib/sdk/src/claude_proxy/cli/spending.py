"""`cost` for a build that must not cost too much, `statusline` for the status bar of a coding agent."""

from __future__ import annotations

import argparse
import json
import select
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from claude_proxy import money
from claude_proxy.cli import numbers, shown
from claude_proxy.cli.output import UNKNOWN
from claude_proxy.cli.parser import add_filter, add_span, command, filters_of
from claude_proxy.errors import ProxyError
from claude_proxy.frames import instant

if TYPE_CHECKING:
    from claude_proxy.answers import Rows
    from claude_proxy.cli.session import Session
    from claude_proxy.client import ClaudeProxyClient

OVER = 4
_METRICS = "requests,cost_usd,unpriced_requests"
_WEEK = timedelta(days=7)
_PATIENCE_S = 0.2  # for what a coding agent says on standard input
_MOST_BYTES = 1 << 20


def add(commands: Any) -> None:
    """Add the commands."""
    parser = command(
        commands, "cost", _cost, says="What calls cost; with --max-usd the exit status is 4 when it is more.",
        example="claude-proxy cost --tag run=$ID --max-usd 2",
    )  # fmt: skip
    add_span(parser, "7 days back")
    parser.add_argument("--max-usd", type=_dollars, metavar="USD", help="exit with 4 when the cost is above")
    parser.add_argument(
        "--strict", action="store_true", help="with --max-usd: calls of unknown cost are too much, too"
    )
    parser = command(
        commands, "statusline", _statusline,
        says="One line for a status bar: what today cost, and the session that a coding agent names on stdin.",
        example="claude-proxy statusline",
    )  # fmt: skip
    add_filter(parser)


def _dollars(text: str) -> int:
    """Return an amount in dollars as nano-dollars."""
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and amount >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of dollars")
    return money.nano_usd(amount)


def _cost(session: Session) -> int:
    asked, output = session.arguments, session.output
    start = asked.start or (f"{datetime.now(timezone.utc) - _WEEK:%Y-%m-%dT%H:%M:%SZ}" if not asked.end else None)
    answer = session.client.get_aggregate_stats(
        start, asked.end, metrics=_METRICS, filter=filters_of(asked), time_zone=asked.time_zone
    )
    row = answer["rows"][0]
    known = money.nano_usd(row["cost_usd"]) if row["cost_usd"] is not None else None
    unknown, most = row["unpriced_requests"], asked.max_usd
    over = most is not None and ((known or 0) > most or (asked.strict and unknown > 0))
    document = {
        "cost_nano_usd": known,
        "requests": row["requests"],
        "unpriced_requests": unknown,
        "max_nano_usd": most,
        "over": over if most is not None else None,
        "start": answer["start"],
        "end": answer["end"],
        "missing": answer["missing"],
    }
    if output.form == "table":
        demo = " · demo data" if session.client.demo else ""
        output.line(output.paint(f"{numbers.span(answer)}{demo}", "dim"))
        pairs = [("requests", shown.whole(row["requests"]), row["requests"])]
        pairs.append(("cost", UNKNOWN if known is None else money.show(known), known))
        if most is not None:
            pairs.append(("limit", money.show(most), most))
        output.pairs(pairs, document=None, right=True)
    else:
        output.pairs([(name, "", value) for name, value in document.items()], document=document)
    numbers.notes(output, answer)
    if not row["requests"]:
        output.say("No calls were found: check --start, --end and the filters.")
    if over:
        output.say(f"Above the limit of {money.show(most)}.")
    return OVER if over else 0


# -- one line ------------------------------------------------------------------------------------------------------


def _statusline(session: Session) -> int:
    """Write one line and be done, whatever happens: a status bar shows what is there and hides what fails."""
    output, where = session.output, filters_of(session.arguments)
    try:
        told = _line(session.client, where)
    except ProxyError as error:
        told = {"text": f"LLM {UNKNOWN} ({_why(error)})", "error": error.message}
    if output.form == "json":
        output.json(told)
    else:
        output.line(told["text"])
    return 0


def _why(error: ProxyError) -> str:
    words = {"unreachable": "no proxy answers", "timeout": "the proxy is slow", "unauthenticated": "no valid key"}
    return words.get(error.code, error.code.replace("_", " "))


def _line(client: ClaudeProxyClient, where: list[str]) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    days = client.get_timeseries(
        f"{now - timedelta(hours=25):%Y-%m-%dT%H:%M:%SZ}", metrics=_METRICS, grain="day", filter=where
    )
    today = _last_day(days)
    parts = [f"{_amount(today)} today", f"{today['requests']:,} {'call' if today['requests'] == 1 else 'calls'}"]
    told: dict[str, Any] = {"today": today}
    session_id = _session_id()
    if session_id:
        start = f"{now - _WEEK:%Y-%m-%dT%H:%M:%SZ}"
        rows = client.get_aggregate_stats(start, metrics=_METRICS, filter=[*where, f"session:{session_id}"])["rows"]
        told["session"] = rows[0]
        parts.insert(0, f"{_amount(rows[0])} this session")
    if today["unpriced_requests"]:
        parts.append(f"{today['unpriced_requests']:,} of unknown cost")
    if client.demo:
        parts.append("demo data")
    return {"text": f"LLM {' · '.join(parts)}", **told}


def _last_day(days: Rows) -> dict[str, Any]:
    """Return the row of the day that it is in the proxy's time zone: without calls there may be none."""
    for row in reversed(days["rows"]):
        begins = datetime.fromisoformat(row["step_at"].replace("Z", "+00:00"))  # carries the zone's offset
        if begins.date() == instant(days["end"]).astimezone(begins.tzinfo).date():
            return {name: row[name] for name in ("requests", "cost_usd", "unpriced_requests")}
    return {"requests": 0, "cost_usd": None, "unpriced_requests": 0}


def _amount(row: dict[str, Any]) -> str:
    """Return a cost in words: nothing was spent without calls, and calls without a known cost are unknown."""
    if row["cost_usd"] is not None:
        return shown.usd(row["cost_usd"])
    return UNKNOWN if row["requests"] else money.show(0)


def _session_id() -> str:
    """Return the `session_id` in the JSON object that Claude Code gives its status line; empty: none came."""
    try:
        if sys.stdin.isatty() or not select.select([sys.stdin], [], [], _PATIENCE_S)[0]:
            return ""
        told = json.loads(sys.stdin.read(_MOST_BYTES))
    except (OSError, ValueError, AttributeError):  # closed, no JSON, no stream at all: nothing was said
        return ""
    value = told.get("session_id") if isinstance(told, dict) else None
    return value if isinstance(value, str) else ""

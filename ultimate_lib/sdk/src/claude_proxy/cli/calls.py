"""`calls` and `tail`: single calls, one of them with its price, and calls as they end."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from claude_proxy import money
from claude_proxy.cli import shown
from claude_proxy.cli.numbers import notes
from claude_proxy.cli.output import UNKNOWN, Column, cell, csv_lines, width
from claude_proxy.cli.parser import add_filter, add_span, command, filters_of
from claude_proxy.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_proxy.answers import Answer
    from claude_proxy.cli.output import Output
    from claude_proxy.cli.session import Session

_FEW = 20
_ENDS = {"ok": "green", "error": "red", "cut": "yellow", "refused": "yellow", "blocked": "red"}


def _colour(status: str) -> str:
    return _ENDS.get(status, "")


COLUMNS = (
    Column("started_at", "started", shown.moment),
    Column("model", "model"),
    Column("status", "status", colour=_colour),
    Column("input_tokens", "input", shown.whole, right=True),
    Column("output_tokens", "output", shown.whole, right=True),
    Column("cost_nano_usd", "cost", shown.nano, right=True),
    Column("duration_ms", "took", shown.milliseconds, right=True),
    Column("call_id", "call"),
)
_TAIL_WIDTHS = (19, 28, 7, 9, 9, 11, 9, 36)  # of a table whose rows are still to come
_PRICE = (
    Column("what", "what"),
    Column("count", "count", shown.whole, right=True),
    Column("unit", "of"),
    Column("usd_per_million", "USD per million", lambda value: f"{value:,}", right=True),
    Column("cost_nano_usd", "cost", money.exact, right=True),
)


def add(commands: Any) -> None:
    """Add the commands."""
    parser = command(
        commands, "calls", _calls, says="Single calls, newest first; with an id one call and why it has its price.",
        example="claude-proxy calls --filter status:error --limit 50",
    )  # fmt: skip
    parser.add_argument("id", nargs="?", metavar="ID", help="one call, as the list shows its id")
    add_span(parser, "24 hours back")
    parser.add_argument("--limit", type=int, default=_FEW, metavar="N", help=f"most calls (default: {_FEW}); 0: all")
    parser = command(
        commands, "tail", _tail, says="Calls as they end, until Ctrl-C.",
        example="claude-proxy tail --filter project:search",
    )  # fmt: skip
    add_filter(parser)


def _calls(session: Session) -> int:
    asked, output = session.arguments, session.output
    if asked.id is not None:
        _one(output, session.client.call(asked.id))
        return 0
    if asked.limit < 0:
        raise BadRequest("--limit is below 0.", hint="Give how many calls at most; 0: all.", code="limit")
    calls = session.client.calls(
        asked.start, asked.end, filter=filters_of(asked), limit=asked.limit or None, time_zone=asked.time_zone
    )
    rows = []
    for row in calls:
        rows.append(row)
        if len(rows) % 500 == 0:
            output.progress(f"{len(rows):,} calls …")
    output.progress("")
    if output.form == "csv":  # every column, as in JSON
        names = list(rows[0]) if rows else [column.name for column in COLUMNS if column.name != "model"]
        output.rows([Column(name, name) for name in names], rows)
    else:
        output.rows(
            COLUMNS, [_with_model(row) for row in rows] if output.form == "table" else rows, empty="No calls."
        )
    told: Any = {"units": {}, "missing": calls.missing}
    notes(output, told)
    return 0


def _with_model(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the model as the proxy's own dimension has it: as sent, else as requested."""
    return {**row, "model": row.get("model_routed") or row.get("model_requested") or row.get("model_served")}


def _one(output: Output, answer: Answer) -> None:
    call, price = answer["call"], answer.get("price") or {}
    known = [(name, shown.value(name, value), value) for name, value in call.items() if value is not None]
    if output.form == "csv":
        known = [(name, "", value) for name, value in call.items()]
    output.pairs(known, document=answer)
    if output.form != "table":
        return
    unknown = [name for name, value in call.items() if value is None]
    output.line(output.paint(f"{UNKNOWN} {', '.join(unknown)}", "dim"))
    output.line()
    output.line(output.paint("Why this price", "bold"))
    if price.get("sentence"):
        output.line(price["sentence"])
    if price.get("lines"):
        output.rows(_PRICE, price["lines"])
    total = price.get("total_nano_usd")
    output.line(f"Total: {money.exact(total) if total is not None else UNKNOWN}")


def _tail(session: Session) -> int:
    output, names = session.output, None
    try:
        for row in session.client.live(filter=filters_of(session.arguments), on_gap=output.say):
            if output.form == "json":
                output.line(json.dumps(row, ensure_ascii=False))
            elif output.form == "csv":
                if names is None:
                    names = list(row)
                    output.out.write(csv_lines([names]))
                output.out.write(csv_lines([[row.get(name) for name in names]]))
            else:
                if names is None:
                    names = [column.name for column in COLUMNS]
                    output.line(output.aligned(COLUMNS, _TAIL_WIDTHS))
                full = _with_model(row)
                cells = [_cut(cell(column, full.get(column.name)), wide) for column, wide in _tail_columns()]
                output.line(output.aligned(COLUMNS, _TAIL_WIDTHS, cells, full))
            output.out.flush()
    except KeyboardInterrupt:  # the way to end it
        if sys.stdout.isatty():
            output.line()
    return 0


def _tail_columns() -> Any:
    return zip(COLUMNS, _TAIL_WIDTHS, strict=True)


def _cut(text: str, wide: int) -> str:
    """Return a text that fits into a column, its end in place of what is too much: models differ at their ends."""
    return text if width(text) <= wide else f"…{text[-(wide - 1) :]}"

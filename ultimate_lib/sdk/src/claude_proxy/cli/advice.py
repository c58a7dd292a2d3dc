"""`predictive recommendations`: what would save money or risk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import add_filter, command, filters_of

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session


def add(below: Any) -> None:
    """Add the command under `predictive`."""
    parser = command(
        below, "recommendations", _recommendations,
        says="What would save money or risk: each with its saving in 30 days, its calls and how to apply it.",
        example="claude-proxy predictive recommendations --kinds prompt_caching",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=30, metavar="N", help="how far back to look (default: 30)")
    parser.add_argument("--kinds", metavar="NAMES", help="names between commas (default: all nine)")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="most recommendations (default: 20)")
    add_filter(parser)


def _recommendations(session: Session) -> int:
    asked, output = session.arguments, session.output
    kinds = [one.strip() for one in asked.kinds.split(",")] if asked.kinds else None
    answer = session.client.get_recommendations(asked.days, kinds=kinds, limit=asked.limit, filter=filters_of(asked))
    (figure,) = shown.columns(["cost_usd"], {"cost_usd": "usd"})
    rows = []
    for row in answer["recommendations"]:
        bounds = (row["lower_usd"], row["upper_usd"])
        inside = UNKNOWN if None in bounds else " to ".join(figure.show(one) for one in bounds)
        number = row["calls"]["affected"] if row["calls"] else None
        rows.append({**row, "inside": inside, "number": number})
    columns = [
        Column("saving_usd", "saves in 30 days", figure.show, right=True), Column("inside", "95 %", right=True),
        Column("number", "calls", right=True), Column("kind", "kind"), Column("title", "what"),
    ]  # fmt: skip
    output.rows(
        columns, rows, document=answer,
        empty=answer["too_few"] or f"Nothing found in {answer['calls']:,} calls.",
    )  # fmt: skip
    if output.form == "table" and rows:
        output.line()
        for row in rows:
            output.line(f"{row['title']}:")
            for step in row["how"]:
                output.line(output.paint(f"  {step}", "dim"))
        if answer["total_usd"] is not None:
            low, high = (figure.show(answer[name]) for name in ("surely_usd", "total_usd"))
            output.line()
            output.line(
                f"All of it: {high} in 30 days if no call is counted twice, {low} if all that overlaps is one and "
                "runaway loops were wanted."
            )
    return 0

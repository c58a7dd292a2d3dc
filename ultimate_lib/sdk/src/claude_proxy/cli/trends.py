"""`predictive analyze-cost`, `trend` and `smart-alert`: why, where to, and what to be told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy import money
from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import add_filter, command, filters_of

if TYPE_CHECKING:
    from claude_proxy.answers import Answer
    from claude_proxy.cli.output import Output
    from claude_proxy.cli.session import Session

_EFFECTS = {
    "volume_nano_usd": "number of calls",
    "model_mix_nano_usd": "other models",
    "tokens_per_request_nano_usd": "tokens a call",
    "price_nano_usd": "cost of a token",
    "tokens_or_price_nano_usd": "either of the two",
}
_SHOWN_FIRINGS = 10


def add(below: Any) -> None:
    """Add the commands below `predictive`."""
    parser = command(
        below, "analyze-cost", _analyze_cost,
        says="Why spend changed between two spans: number of calls, models, tokens a call, cost of a token.",
        example="claude-proxy predictive analyze-cost --start 2026-11-16 --end 2026-11-22",
    )  # fmt: skip
    parser.add_argument("--start", metavar="WHEN", help="first day (default: of the last whole week)")
    parser.add_argument("--end", metavar="WHEN", help="last day, inclusive")
    parser.add_argument("--before-start", metavar="WHEN", help="of the span before (default: as long, just before)")
    parser.add_argument("--before-end", metavar="WHEN", help="last day of the span before")
    parser.add_argument("--by", metavar="NAMES", help="default: model,project,key,notebook,team")
    parser.add_argument("--limit", type=int, metavar="N", help="values of each dimension (default: 5)")
    add_filter(parser)
    parser = command(
        below, "trend", _trend, says="Where a metric is going, or that it cannot be told.",
        example="claude-proxy predictive trend --metric requests",
    )  # fmt: skip
    parser.add_argument("--metric", default="cost_usd", metavar="NAME", help="default: cost_usd")
    parser.add_argument("--days", type=int, metavar="N", help="how far back (default: 90 days, or 60 of hours)")
    parser.add_argument("--grain", choices=("hour", "day"), help="step of time (default: day)")
    add_filter(parser)
    parser.add_argument("--time-zone", metavar="ZONE", help="IANA zone that cuts days (default: the proxy's)")
    parser = command(
        below, "smart-alert", _smart_alert,
        says="Propose an alert rule from the history, and say when it would have fired; none is made.",
        example="claude-proxy predictive smart-alert --per-month 2",
    )  # fmt: skip
    parser.add_argument("--metric", default="cost_usd", metavar="NAME", help="default: cost_usd")
    parser.add_argument("--window", choices=("hour", "day"), default="day", help="default: day")
    parser.add_argument("--per-month", type=float, default=2.0, metavar="N", help="most alerts wanted (default: 2)")
    add_filter(parser)


def _analyze_cost(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.analyze_cost(
        asked.start, asked.end, before_start=asked.before_start, before_end=asked.before_end, by=asked.by,
        limit=asked.limit, filter=filters_of(asked),
    )  # fmt: skip
    if output.form == "table":
        _change(output, answer, demo=" · demo data" if session.client.demo else "")
    rows = [
        {"dimension": one["dimension"], **row, **row["effects"]}
        for one in answer["dimensions"]
        for row in (*one["movers"], *_rest(one))
    ]
    columns = [
        Column("dimension", "by"), Column("value", "value"),
        Column("before_nano_usd", "before", shown.nano, right=True),
        Column("after_nano_usd", "after", shown.nano, right=True),
        Column("change_nano_usd", "change", _signed, right=True),
        *(Column(name, title, _signed, right=True) for name, title in _EFFECTS.items()),
    ]  # fmt: skip
    output.rows(columns, rows, document=answer, empty="Nothing moved.")
    if output.form == "table":
        for note in answer["notes"]:
            output.note(note)
    return 0


def _change(output: Output, answer: Answer, demo: str) -> None:
    for name in ("before", "after"):
        level = answer[name]
        cost = UNKNOWN if level["cost_usd"] is None else shown.usd(level["cost_usd"])
        span = f"{shown.step(level['start'])} to {shown.step(level['end'])}"
        output.line(f"{name + ':':8}{cost} of {level['priced_requests']:,} priced calls, {span}{demo}")
    ratio = "" if answer["change_ratio"] is None else f" ({answer['change_ratio']:+.1%})"
    output.line(f"change: {_signed(answer['change_nano_usd'])}{ratio}")
    output.pairs(
        [(title, _signed(answer["effects"][name]), None) for name, title in _EFFECTS.items()],
        document=None,
        right=True,
    )
    output.line()


def _rest(one: dict[str, Any]) -> list[dict[str, Any]]:
    if not one["rest_nano_usd"]:
        return []
    nothing = dict.fromkeys(("before_nano_usd", "after_nano_usd", *_EFFECTS))
    value = f"{one['rest_values']:,} others"
    return [{"value": value, "change_nano_usd": one["rest_nano_usd"], "effects": {}, **nothing}]


def _signed(nano: int | None) -> str:
    if nano is None:
        return UNKNOWN
    return f"{'-' if nano < 0 else '+'}{money.show(abs(nano))}"


def _trend(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.get_trend(
        asked.metric, grain=asked.grain, days=asked.days, filter=filters_of(asked), time_zone=asked.time_zone
    )
    (figure,) = shown.columns([answer["metric"]], {answer["metric"]: answer["unit"]})
    if output.form == "table":
        output.line(answer["words"] + (" · demo data" if session.client.demo else ""))
    columns = [
        Column("at", "level changed", shown.step), Column("before", "before", figure.show, right=True),
        Column("after", "after", figure.show, right=True),
        Column("ratio", "ratio", lambda value: f"{value:.2f}", right=True),
    ]  # fmt: skip
    output.rows(columns, answer["changes"], document=answer, empty="No change of level.")
    if output.form == "table":
        output.line(output.paint(f"Made by: {answer['method']}.", "dim"))
    return 0


def _smart_alert(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.propose_alert(
        asked.metric, window=asked.window, alerts_per_month=asked.per_month, filter=filters_of(asked)
    )
    (figure,) = shown.columns([answer["metric"]], {answer["metric"]: answer["unit"]})
    replay = answer["replay"]
    if output.form == "table":
        demo = " · demo data" if session.client.demo else ""
        output.line(f"{answer['condition']}{demo}")
        output.line(f"severity {answer['severity']}; expected {answer['expected_per_month']:.1f} times in 30 days")
        times = "once" if replay["fired"] == 1 else f"{replay['fired']:,} times"
        since = shown.step(replay["start"])
        output.line(f"would have fired {times} since {since}, {replay['per_month']:.1f} times in 30 days")
    columns = [Column("at", "fired", shown.step), Column("value", figure.title, figure.show, right=True)]
    output.rows(columns, replay["firings"][:_SHOWN_FIRINGS], document=answer, empty="It would never have fired.")
    if output.form == "table":
        for note in answer["notes"]:
            output.note(note)
        output.line(output.paint("No alert was made.", "dim"))
    return 0

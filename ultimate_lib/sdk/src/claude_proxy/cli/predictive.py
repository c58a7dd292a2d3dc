"""`predictive`: what is to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.answers import Rows
from claude_proxy.cli import advice, detect, shown, trends
from claude_proxy.cli.numbers import notes, zone_of
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import add_filter, command, filters_of, group
from claude_proxy.frames import instant

if TYPE_CHECKING:
    from claude_proxy.answers import Answer
    from claude_proxy.cli.output import Output
    from claude_proxy.cli.session import Session

_COLOURS = {"high": "red", "medium": "yellow", "low": "green"}


def add(commands: Any) -> None:
    """Add the commands."""
    parser = command(
        commands, "predictive", None, says="What is to come: forecasts.", example="claude-proxy predictive forecast",
    )  # fmt: skip
    below = group(parser, required=True)
    parser = command(
        below, "forecast", _forecast,
        says="The next days of a metric, with the bounds that hold 80 % of what may come.",
        example="claude-proxy predictive forecast --days 7",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=7, metavar="N", help="1 to 90 (default: 7)")
    parser.add_argument("--metric", default="cost_usd", metavar="NAME", help="default: cost_usd")
    parser.add_argument("--grain", choices=("hour", "day"), help="step of time (default: day)")
    add_filter(parser)
    parser.add_argument("--time-zone", metavar="ZONE", help="IANA zone that cuts days (default: the proxy's)")
    parser = command(
        below, "thresholds", _thresholds,
        says="What the running day, week or month will hardly exceed: above warning lie 10 %, above critical 1 %.",
        example="claude-proxy predictive thresholds --period month",
    )  # fmt: skip
    parser.add_argument("--metric", default="cost_usd", metavar="NAME", help="default: cost_usd")
    parser.add_argument("--period", choices=("day", "week", "month"), default="day", help="default: day")
    add_filter(parser)
    parser = command(
        below, "patterns", _patterns, says="The shape of a metric's days and weeks, and when its level changed.",
        example="claude-proxy predictive patterns --metric cost_usd",
    )  # fmt: skip
    parser.add_argument("--metric", default="requests", metavar="NAME", help="default: requests")
    add_filter(parser)
    parser.add_argument("--time-zone", metavar="ZONE", help="IANA zone that cuts days (default: the proxy's)")
    parser = command(
        below, "anomalies", _anomalies,
        says="Minutes, hours or days unlike those before, why, and whose calls made them.",
        example="claude-proxy predictive anomalies --days 30",
    )  # fmt: skip
    parser.add_argument("--metric", default="cost_usd", metavar="NAME", help="default: cost_usd")
    parser.add_argument("--days", type=int, metavar="N", help="how far back (default: 30, of minutes 3)")
    parser.add_argument("--grain", choices=("minute", "hour", "day"), help="step of time (default: hour)")
    parser.add_argument("--by", metavar="NAME", help="each value of this dimension a series of its own")
    parser.add_argument("--groups", type=int, metavar="N", help="most of them, the largest first (default: 10)")
    parser.add_argument("--method", choices=("series", "zscore", "mad"), help="default: series")
    add_filter(parser)
    parser.add_argument("--time-zone", metavar="ZONE", help="IANA zone that cuts days (default: the proxy's)")
    detect.add(below)
    trends.add(below)
    advice.add(below)


def _anomalies(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.get_anomaly_history(
        asked.metric, days=asked.days, grain=asked.grain, method=asked.method, by=asked.by, groups=asked.groups,
        filter=filters_of(asked), time_zone=asked.time_zone,
    )  # fmt: skip
    (figure,) = shown.columns([answer["metric"]], {answer["metric"]: answer["unit"]})
    rows = [
        {
            **row,
            "expected": "usual by itself"
            if row["within"]
            else " to ".join(
                "?" if row[name] is None else figure.show(row[name]) for name in ("expected_low", "expected_high")
            ),
            "by": ", ".join(
                f"{one['dimension']} {one['value'] or UNKNOWN} {one['share']:.0%}" for one in row["made_by"][:2]
            ),
        }
        for row in answer["anomalies"]
    ]
    columns = [
        Column("step_at", "from", shown.step), *([Column("group", asked.by)] if asked.by else []),
        Column("value", figure.title, figure.show, right=True),
        Column("expected", "expected", right=True), Column("reason", "unusual"), Column("by", "mostly by"),
    ]  # fmt: skip
    output.rows(columns, rows, document=answer, empty=f"Nothing unusual in {answer['judged']:,} {answer['grain']}s.")
    if output.form == "table" and asked.by and answer["left_out"]["groups"]:
        left = answer["left_out"]
        share = "" if left["share"] is None else f", {left['share']:.1%} of it all"
        output.note(f"{left['groups']:,} smaller ones were left out{share}.")
    return 0


def _patterns(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.get_patterns(asked.metric, filter=filters_of(asked), time_zone=asked.time_zone)
    (figure,) = shown.columns([answer["metric"]], {answer["metric"]: answer["unit"]})
    rows = [{"hour": f"{hour:02}:00", "mean": mean} for hour, mean in enumerate(answer["daily"]["means"])]
    columns = [Column("hour", "hour"), Column("mean", "mean", figure.show, right=True)]
    if output.form == "table":
        demo = " · demo data" if session.client.demo else ""
        span = f"{answer['first_day']} to {answer['last_day']} ({answer['time_zone']})"
        output.line(output.paint(f"{figure.title} by hour of the day, {span}{demo}", "dim"))
    output.rows(columns, rows, document=answer)
    if output.form == "table":
        output.line()
        for name in ("daily", "weekly"):
            output.line(f"{name}: {_cycle(answer[name])}")
        for name, hours in (("peak", answer["peak_hours"]), ("quiet", answer["quiet_hours"])):
            if hours:
                output.line(f"{name} hours: {', '.join(f'{hour:02}' for hour in hours)}")
        for name in ("weekday", "weekend"):
            if answer[f"{name}_mean"] is not None:
                output.line(f"a day of the {name.replace('day', 'days')}: {figure.show(answer[f'{name}_mean'])}")
        for change in answer["changes"]:
            output.line(f"{change['day']}: the level changed to {change['ratio']:.0%} of what it was")
    return 0


def _cycle(told: Answer | None) -> str:
    if told is None:
        return "unknown, it needs three weeks"
    if not told["there"]:
        return f"none (p = {told['p_value']:.3f})"
    return f"explains {told['strength']:.0%} of what varies (p = {told['p_value']:.3f}, {told['cycles']} cycles)"


def _thresholds(session: Session) -> int:
    asked, output = session.arguments, session.output
    answer = session.client.get_smart_thresholds(asked.metric, period=asked.period, filter=filters_of(asked))
    (figure,) = shown.columns([answer["metric"]], {answer["metric"]: answer["unit"]})
    if output.form == "table":
        demo = " · demo data" if session.client.demo else ""
        span = f"{_day(answer['period_start'])}, until {_day(answer['period_end'])}"
        output.line(output.paint(f"{figure.title} of the {answer['period']} from {span} (UTC){demo}", "dim"))
    told = [
        (name.replace("_", " "), UNKNOWN if answer[name] is None else figure.show(answer[name]), answer[name])
        for name in ("so_far", "expected", "warning", "critical")
    ]
    output.pairs(told, document=answer, right=True)
    if output.form == "table":
        output.line(output.paint(f"Made by: {answer['method']}.", "dim"))
        for note in answer["notes"]:
            output.note(note)
    return 0


def _forecast(session: Session) -> int:
    asked, client, output = session.arguments, session.client, session.output
    answer = client.get_predictions(
        asked.days, metric=asked.metric, grain=asked.grain, filter=filters_of(asked), time_zone=asked.time_zone
    )
    (figure,) = shown.columns([answer["metric"]], {answer["metric"]: answer["unit"]})
    names = ("value", "lower_80", "upper_80", "naive")
    titles = ("forecast", "80 % from", "to", "last cycle again")
    columns = [
        Column("step_at", "from", shown.step),
        *(Column(name, title, figure.show, right=True) for name, title in zip(names, titles)),  # noqa: B905 - Python 3.9
    ]
    if output.form == "table":
        zone, _ = zone_of(answer["time_zone"])
        demo = " · demo data" if client.demo else ""
        output.line(output.paint(f"{figure.title} by {answer['grain']} ({zone}){demo}", "dim"))
    output.rows(columns, answer["rows"], document=answer)
    if output.form == "table":
        _words(output, answer, figure)
        notes(output, Rows({**answer, "units": {answer["metric"]: answer["unit"]}}))
    return 0


def _words(output: Output, answer: Answer, figure: Column) -> None:
    """Say the total, the risk, the budgets and how good the forecast is."""
    summary, test = answer["summary"], answer["backtest"]
    days = f"{answer['days']} {'day' if answer['days'] == 1 else 'days'}"
    output.line()
    if summary["total"] is not None:
        low, high = (figure.show(summary[name]) for name in ("lower_80", "upper_80"))
        output.line(f"{days}: {figure.show(summary['total'])} in all, 80 %: {low} to {high}")
    else:
        output.line(f"{days}: {figure.show(summary['mean'])} on average")
    risk = answer["risk_level"]
    output.line(f"risk {output.paint(risk, _COLOURS.get(risk, 'dim'))}: {answer['risk_reason']}")
    for budget in answer["budgets"]:
        output.line(_budget(budget))
    if test is None:
        output.line("Not tested: there is too little history.")
    else:
        better = (
            "" if test["ratio_to_naive"] is None else f"{test['ratio_to_naive']:.2f} of the error of the last cycle, "
        )
        inside = f"{test['coverage_80']:.0%} inside 80 %, {test['coverage_95']:.0%} inside 95 %"
        output.line(output.paint(f"Backtest from {test['origins']} earlier moments: {better}{inside}.", "dim"))
    output.line(output.paint(f"Made by: {answer['method']}.", "dim"))
    for note in answer["notes"]:
        output.note(note)


def _budget(budget: dict[str, Any]) -> str:
    name = budget["name"] or budget["id"]
    if budget["exhausted_at"] is None:
        return f"budget {name}: not spent by {_day(budget['until'])}"
    early, likely, late = (_day(budget[key]) for key in ("earliest_80", "exhausted_at", "latest_80"))
    span = likely if early == late else f"{likely}, 80 %: {early} to {late}"
    return f"budget {name}: {budget['probability']:.0%} likely to be spent, on {span}"


def _day(told: str) -> str:
    return f"{instant(told):%Y-%m-%d}"

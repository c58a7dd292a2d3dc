"""`guard`: what is usual of each key and model, and what is done about calls that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import command, group

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_KEY, _COOLDOWN = "key_6b37d10c8347", "cool_6b37d10c83470a11"
_COLUMNS = (
    Column("key", "key"),
    Column("model", "model"),
    Column("state", "state"),
    Column("usual", "usual at most", right=True),
    Column("anomalies_7d", "far above, 7 d", right=True),
    Column("anomalies_30d", "30 d", right=True),
    Column("blocked", "refused", right=True),
    Column("would", "would have blocked in cool-downs", right=True),
    Column("marked_outside", "marked at the door", right=True),
    Column("cooldown_id", "cool-down"),
)


def add(commands: Any) -> None:
    """Add the commands."""
    says = "What is usual of each key and model, and what the guard did and would have done about other calls."
    parent = command(commands, "guard", _list, says=says, example="claude-proxy guard")
    parent.add_argument("--key", metavar="ID", help="of this key alone")
    below = group(parent)
    parser = command(
        below, "set", _set, says="Say what is done about a key's unusual calls; default: as the settings say.",
        example=f"claude-proxy guard set {_KEY} warn",
    )  # fmt: skip
    parser.add_argument("id", metavar="KEY")
    parser.add_argument("action", choices=("observe", "warn", "block", "default"))
    parser = command(
        below, "accept", _accept,
        says="Accept unusual calls as usual: a cool-down ends, and what is usual is learnt from them, too.",
        example=f"claude-proxy guard accept {_KEY} claude-sonnet-4-5",
    )  # fmt: skip
    parser.add_argument("id", metavar="KEY")
    parser.add_argument("model", metavar="MODEL")
    says = "of calls since then; default: of the last seven days. Now: take back what was accepted before"
    parser.add_argument("--since", metavar="INSTANT", help=says)
    parser = command(
        below, "end", _end, says="End a cool-down: calls go on within seconds.",
        example=f"claude-proxy guard end {_COOLDOWN}",
    )  # fmt: skip
    parser.add_argument("id", metavar="COOLDOWN")


def _list(session: Session) -> int:
    answer = session.client.get_guard(key=session.arguments.key)
    rule, names = answer["rule"], {one["id"]: one["name"] for one in answer["keys"]}
    rows = [
        {
            **one,
            "key": names.get(one["key_id"], one["key_id"]),
            "state": _state(one, rule),
            "usual": _usd(one["usual_usd"]),
            "would": _would(one),
            "cooldown_id": one["cooldown"]["id"] if one["cooldown"] else "",
        }
        for one in answer["pairs"]
    ]
    session.output.rows(_COLUMNS, rows, document=answer, empty=_empty(answer))
    if answer["found"] > len(rows):
        session.output.say(f"{len(rows)} of {answer['found']}: --key shows those of one key.")
    if answer["failure"]:
        session.output.say(answer["failure"])
    return 0


def _empty(answer: Any) -> str:
    if not answer["rule"]["enabled"]:
        return "The guard is off."
    if answer["learnt_at"] is None:
        return "Nothing is known yet: the worker has not looked. It does within a minute of its start."
    looked = shown.moment(answer["learnt_at"])
    if answer["behind"]:
        return f"Nothing is known yet: the worker looked at {looked}, before calls that have come since."
    return f"Nothing is known yet: no key had called a model when the worker looked, at {looked}; none has since."


def _state(one: Any, rule: Any) -> str:
    if one["cooldown"]:
        return f"cool-down until {shown.moment(one['cooldown']['until'])}"
    if one["ripe"]:
        return "known well enough"
    if one["days"] is None:
        return "too few calls"
    if not one["calls"]:
        return "no call of a known price"
    days, calls = min(one["days"], rule["after_days"]), min(one["calls"], rule["after_calls"])
    return f"observing: {days} of {rule['after_days']} days, {calls} of {rule['after_calls']} calls"


def _usd(value: float | None) -> str:
    return UNKNOWN if value is None else f"${value:.6f}"


def _would(one: Any) -> str:
    calls = one["would_have_blocked"]
    return f"{calls} ({_usd(one['would_have_blocked_usd'])})" if calls else "0"


def _set(session: Session) -> int:
    asked, output = session.arguments, session.output
    if asked.action == "block":
        pairs = session.client.get_guard(key=asked.id)["pairs"]
        calls = sum(one["would_have_blocked"] for one in pairs)
        usd = sum(one["would_have_blocked_usd"] or 0.0 for one in pairs)
        door = sum(one["marked_outside"] for one in pairs)
        output.say(
            f"In the last 30 days its cool-downs would have refused {calls} calls ({_usd(usd)}); apart from those, "
            f"{door} were marked at the door, mostly for their input."
        )
    told = session.client.set_guard_action(asked.id, None if asked.action == "default" else asked.action)
    output.pairs(
        [(name, UNKNOWN if value is None else str(value), value) for name, value in told.items()], document=told
    )
    return 0


def _accept(session: Session) -> int:
    asked = session.arguments
    told = session.client.accept_usual(asked.id, asked.model, since=asked.since)
    if session.output.form == "json":
        session.output.json(told)
    else:
        since = shown.moment(told["since"])
        session.output.say(
            f"Calls of {told['key_id']} to {told['model']} since {since} are usual: "
            "the worker learns from them within a minute or two."
        )
    return 0


def _end(session: Session) -> int:
    told = session.client.end_cooldown(session.arguments.id)
    if session.output.form == "json":
        session.output.json(told)
    else:
        session.output.say(f"The cool-down of {told['key_id']} for {told['model']} has ended.")
    return 0

"""`keys`: keys of the proxy, one's own and, for who may, others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import Parser, command, group, if_version

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("prefix", "begins"),
    Column("user_name", "user"),
    Column("team", "team"),
    Column("project", "project"),
    Column("created_at", "created", shown.moment),
    Column("expires_at", "expires", shown.moment),
    Column("retires_at", "retires", shown.moment),
    Column("revoked_at", "revoked", shown.moment, colour=lambda _: "red"),
    Column("scopes", "scopes", ", ".join),
)


_ID = "key_6b37d10c8347"
_TEXTS = {
    "team": "team that its calls are booked on", "project": "project that its calls are booked on",
    "cost-center": "cost centre that its calls are booked on", "app": "app that its calls are booked on",
}  # fmt: skip
_LISTS = {
    "models": "models it may call, claude-* for all that begin so (default: all that its maker may)",
    "tags": "name=value, between commas, of its calls",
    "locked": "what its calls cannot change: team,project,cost_center,app,tags",
}


def add(commands: Any) -> None:
    """Add the commands."""
    says = "One's own keys, newest first, without what would let one use them."
    parent = command(commands, "keys", _list, says=says, example="claude-proxy keys")
    _add_filters(parent)
    below = group(parent)
    _add_filters(command(below, "list", _list, says=says, example="claude-proxy keys list --output csv"))
    _add_create(below)
    one = command(below, "show", _show, says="One key.", example=f"claude-proxy keys show {_ID}")
    one.add_argument("id", metavar="ID")
    _add_change(below)
    parser = command(
        below, "rotate", _rotate, says="Give a key another secret, shown this once, alone on standard output.",
        example=f"claude-proxy keys rotate {_ID} --overlap-hours 24",
    )  # fmt: skip
    parser.add_argument("id", metavar="ID")
    if_version(parser)
    parser.add_argument("--overlap-hours", type=int, default=0, metavar="N", help="how long the former one works too")
    parser = command(
        below, "usage", _usage, says="What a key was used for: calls, tokens, cost.",
        example=f"claude-proxy keys usage {_ID} --start 2026-11-01",
    )  # fmt: skip
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--start", metavar="DAY", help="first day, or an instant (default: 30 days ago)")
    parser.add_argument("--end", metavar="DAY", help="last day, or an instant (default: now)")
    parser = command(
        below, "revoke", _revoke, says="End a key, and those made with it.",
        example=f"claude-proxy keys revoke {_ID}",
    )  # fmt: skip
    parser.add_argument("id", metavar="ID")
    if_version(parser)


def _add_filters(parser: Parser) -> None:
    parser.add_argument("--user", metavar="ID", help="of this user, or of 'all' (needs keys:manage)")
    parser.add_argument("--team", metavar="NAME", help="of this team (for its leads)")
    parser.add_argument("--state", choices=("live", "ended"), help="only those that live, or that have ended")


def _add_create(below: Any) -> None:
    parser: Parser = command(
        below, "create", _create, says="Make a key; it is shown this once, alone on standard output.",
        example="claude-proxy keys create notebook --scopes proxy:call,analytics:view",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--user-id", metavar="ID", help="whose it shall be (default: one's own)")
    parser.add_argument("--scopes", metavar="NAMES", help="permissions (default: proxy:call,analytics:view)")
    _add_attribution(parser)
    parser.add_argument("--expires-in-days", type=int, metavar="N")
    _add_guard(parser)
    parser.add_argument("--loopback-only", action="store_true", help="usable on the proxy's computer alone")


def _add_change(below: Any) -> None:
    parser: Parser = command(
        below, "change", _change, says="Change a key. An empty value takes what was there away.",
        example=f"claude-proxy keys change {_ID} --models claude-*,gpt-4o-mini",
    )  # fmt: skip
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--name", metavar="NAME")
    _add_attribution(parser)
    _add_guard(parser)
    parser.add_argument("--expires-at", metavar="INSTANT", help="as 2027-01-01T00:00:00Z")
    if_version(parser)


def _add_attribution(parser: Parser) -> None:
    for name, says in _LISTS.items():
        parser.add_argument(f"--{name}", metavar="NAMES", help=says)
    for name, says in _TEXTS.items():
        parser.add_argument(f"--{name}", metavar="NAME", help=says)


def _add_guard(parser: Parser) -> None:
    says = "what is done about its unusual calls (needs settings:manage)"
    parser.add_argument("--guard", choices=("observe", "warn", "block", ""), help=says)


def _list(session: Session) -> int:
    asked = session.arguments
    found = session.client.list_api_keys(user=asked.user, team=asked.team, state=asked.state)
    session.output.rows(_COLUMNS, found, empty="No keys.")
    return 0


def _show(session: Session) -> int:
    _tell(session, session.client.get_api_key(session.arguments.id))
    return 0


def _change(session: Session) -> int:
    asked = session.arguments
    told: dict[str, Any] = {"name": asked.name}
    told |= {name: _split(getattr(asked, name)) for name in _LISTS}
    for name in (*_TEXTS, "expires_at", "guard"):
        field = name.replace("-", "_")
        told[field] = getattr(asked, field)
    changes = {name: value for name, value in told.items() if value is not None}
    emptied = {name: None for name, value in changes.items() if value in ("", []) and name not in {"tags", "locked"}}
    _tell(session, session.client.update_api_key(asked.id, version=asked.if_version, **{**changes, **emptied}))
    return 0


def _tell(session: Session, about: Any) -> None:
    session.output.pairs([(name, _plain(value), value) for name, value in about.items()], document=about)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or UNKNOWN
    return UNKNOWN if value is None else str(value)


def _rotate(session: Session) -> int:
    asked, output = session.arguments, session.output
    made = session.client.rotate_api_key(asked.id, overlap_hours=asked.overlap_hours, version=asked.if_version)
    if output.form == "table":
        output.say(
            f"The former secret of {asked.id} works until {made['former_until']}. The new one, shown this once:"
        )
        output.line(made["key"])
    else:
        output.pairs(
            [(name, "", value) for name, value in {"key": made["key"], **made["about"]}.items()], document=made
        )
    return 0


def _usage(session: Session) -> int:
    asked = session.arguments
    _tell(session, session.client.get_api_key_usage(asked.id, asked.start, asked.end))
    return 0


def _create(session: Session) -> int:
    asked, output = session.arguments, session.output
    made = session.client.create_api_key(
        asked.name,
        _split(asked.scopes),
        user_id=asked.user_id,
        models=_split(asked.models),
        team=asked.team,
        project=asked.project,
        cost_center=asked.cost_center,
        app=asked.app,
        tags=_split(asked.tags),
        locked=_split(asked.locked),
        expires_in_days=asked.expires_in_days,
        loopback_only=asked.loopback_only,
        guard=asked.guard or None,
    )
    about = made["about"]
    if output.form == "table":
        output.say(f"{about['id']} may {', '.join(about['scopes'])}. The key is shown this once:")
        output.line(made["key"])
    else:
        output.pairs([(name, "", value) for name, value in {"key": made["key"], **about}.items()], document=made)
    return 0


def _revoke(session: Session) -> int:
    asked = session.arguments
    answer = session.client.revoke_api_key(asked.id, version=asked.if_version)
    if session.output.form == "json":
        session.output.json(answer)
    else:
        session.output.say(f"{answer['id']} has ended.")
    return 0


def _split(names: str | None) -> list[str] | None:
    return [name.strip() for name in names.split(",") if name.strip()] if names is not None else None

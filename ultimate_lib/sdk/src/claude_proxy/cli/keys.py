"""`keys`: one's own keys of the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.output import Column
from claude_proxy.cli.parser import Parser, command, group

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("prefix", "begins"),
    Column("project", "project"),
    Column("created_at", "created", shown.moment),
    Column("expires_at", "expires", shown.moment),
    Column("revoked_at", "revoked", shown.moment, colour=lambda _: "red"),
    Column("scopes", "scopes", ", ".join),
)


def add(commands: Any) -> None:
    """Add the commands."""
    says = "One's own keys, newest first, without what would let one use them."
    parent = command(commands, "keys", _list, says=says, example="claude-proxy keys")
    below = group(parent)
    command(below, "list", _list, says=says, example="claude-proxy keys list --output csv")
    _add_create(below)
    parser = command(
        below, "revoke", _revoke, says="End a key.", example="claude-proxy keys revoke key_01JD0000000000000000000000"
    )
    parser.add_argument("id", metavar="ID")


def _add_create(below: Any) -> None:
    parser: Parser = command(
        below, "create", _create, says="Make a key; it is shown this once, alone on standard output.",
        example="claude-proxy keys create notebook --scopes proxy:call,analytics:view",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--scopes", metavar="NAMES", help="permissions (default: proxy:call,analytics:view)")
    parser.add_argument("--models", metavar="NAMES", help="models it may call (default: all that its maker may)")
    parser.add_argument("--project", metavar="NAME", help="project that its calls are booked on")
    parser.add_argument("--expires-in-days", type=int, metavar="N")
    parser.add_argument("--loopback-only", action="store_true", help="usable on the proxy's computer alone")


def _list(session: Session) -> int:
    session.output.rows(_COLUMNS, session.client.list_api_keys(), empty="No keys.")
    return 0


def _create(session: Session) -> int:
    asked, output = session.arguments, session.output
    made = session.client.create_api_key(
        asked.name,
        _split(asked.scopes),
        models=_split(asked.models),
        project=asked.project,
        expires_in_days=asked.expires_in_days,
        loopback_only=asked.loopback_only,
    )
    about = made["about"]
    if output.form == "table":
        output.say(f"{about['id']} may {', '.join(about['scopes'])}. The key is shown this once:")
        output.line(made["key"])
    else:
        output.pairs([(name, "", value) for name, value in {"key": made["key"], **about}.items()], document=made)
    return 0


def _revoke(session: Session) -> int:
    answer = session.client.revoke_api_key(session.arguments.id)
    if session.output.form == "json":
        session.output.json(answer)
    else:
        session.output.say(f"{answer['id']} has ended.")
    return 0


def _split(names: str | None) -> list[str] | None:
    return [name.strip() for name in names.split(",") if name.strip()] if names is not None else None

"""`limits`: how quickly keys, users and teams may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli.output import Column
from claude_proxy.cli.parser import Parser, command, group, if_version

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_COLUMNS = (
    Column("id", "id"),
    Column("subject", "of"),
    Column("subject_id", "which"),
    Column("requests_per_minute", "requests/min"),
    Column("tokens_per_minute", "tokens/min"),
    Column("concurrent", "at a time"),
)
_FLAGS = ("requests_per_minute", "tokens_per_minute", "concurrent")
_ID = "rat_6b37d10c8347"


def add(commands: Any) -> None:
    """Add the commands."""
    says = "The rate limits that concern one."
    below = group(command(commands, "limits", _list, says=says, example="claude-proxy limits"))
    command(below, "list", _list, says=says, example="claude-proxy limits list --output json")
    parser = command(below, "show", _show, says="One rate limit.", example=f"claude-proxy limits show {_ID}")
    parser.add_argument("id", metavar="ID")
    parser = command(
        below, "create", _create, says="Limit a key, a user, a team or all.",
        example="claude-proxy limits create user ana --requests-per-minute 60",
    )  # fmt: skip
    parser.add_argument("subject", choices=("global", "key", "user", "team"))
    parser.add_argument("subject_id", metavar="ID", nargs="?", help="id of a key, name of a user or team")
    _add_flags(parser)
    parser = command(
        below, "update", _update, says="Change a rate limit; 0 takes one of its limits away.",
        example=f"claude-proxy limits update {_ID} --concurrent 4",
    )  # fmt: skip
    parser.add_argument("id", metavar="ID")
    _add_flags(parser)
    if_version(parser)
    parser = command(
        below, "delete", _delete, says="Remove a rate limit.", example=f"claude-proxy limits delete {_ID}"
    )
    parser.add_argument("id", metavar="ID")
    if_version(parser)


def _add_flags(parser: Parser) -> None:
    for name in _FLAGS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")


def _members(session: Session) -> dict[str, int | None]:
    told = {name: getattr(session.arguments, name) for name in _FLAGS}
    return {name: value or None for name, value in told.items() if value is not None}


def _list(session: Session) -> int:
    session.output.rows(_COLUMNS, session.client.list_rate_limits(), empty="No rate limits.")
    return 0


def _show(session: Session) -> int:
    return _told(session, session.client.get_rate_limit(session.arguments.id))


def _create(session: Session) -> int:
    asked = session.arguments
    return _told(session, session.client.create_rate_limit(asked.subject, asked.subject_id, **_members(session)))


def _update(session: Session) -> int:
    asked = session.arguments
    return _told(session, session.client.update_rate_limit(asked.id, version=asked.if_version, **_members(session)))


def _delete(session: Session) -> int:
    asked = session.arguments
    return _told(session, session.client.delete_rate_limit(asked.id, version=asked.if_version))


def _told(session: Session, answer: Any) -> int:
    session.output.pairs([(name, "", value) for name, value in answer.items()], document=answer)
    return 0

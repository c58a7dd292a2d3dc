"""`providers`: what the proxy can call, and the keys for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli.output import Column
from claude_proxy.cli.parser import command, group
from claude_proxy.cli.session import secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_proxy.cli.session import Session

_COLUMNS = (
    Column("name", "name"),
    Column("protocol", "protocol"),
    Column("base_url", "address"),
    Column("key", "key", colour=lambda key: "yellow" if key == "missing" else ""),
    Column("in_force", "in force", lambda now: "yes" if now else "no", colour=lambda now: "green" if now else ""),
    Column("problem", "problem", colour=lambda _: "red"),
)


def add(commands: Any) -> None:
    """Add the commands."""
    says = "The providers, their addresses, and whether there is a key for each."
    parent = command(commands, "providers", _list, says=says, example="claude-proxy providers")
    below = group(parent)
    command(below, "list", _list, says=says, example="claude-proxy providers list --output json")
    parser = command(
        below, "set-key", _set_key, says="Give a provider its key: typed unseen or on standard input, no argument.",
        example="claude-proxy providers set-key anthropic < key.txt",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser = command(
        below, "delete-key", _delete_key, says="Forget the key that was given for a provider.",
        example="claude-proxy providers delete-key anthropic",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")


def _list(session: Session) -> int:
    told = session.client.list_providers()
    rows = [{**row, "key": _key(row)} for row in told]
    session.output.rows(_COLUMNS, rows, document=told, empty="No providers.")
    return 0


def _key(row: Mapping[str, Any]) -> str:
    """Return where a provider's key is from, in words."""
    if row.get("has_key"):
        return row.get("key_source") or "set"
    return "missing" if row.get("needs_key", True) else "not needed"


def _set_key(session: Session) -> int:
    name = session.arguments.name
    _said(session, session.client.set_provider_key(name, secret(f"key of {name}")), f"{name} has a key.")
    return 0


def _delete_key(session: Session) -> int:
    name = session.arguments.name
    _said(session, session.client.delete_provider_key(name), f"The key given for {name} is forgotten.")
    return 0


def _said(session: Session, answer: Any, words: str) -> None:
    if session.output.form == "json":
        session.output.json(answer)
    elif isinstance(answer, dict) and answer.get("in_force") is False and answer.get("has_key"):
        session.output.say(f"{words} It is in force within seconds.")
    else:
        session.output.say(words)

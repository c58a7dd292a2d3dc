"""`providers`: what the proxy can call, and the keys for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.cli.output import Column
from claude_proxy.cli.parser import command, group
from claude_proxy.cli.session import secret

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_COLUMNS = (
    Column("name", "name"),
    Column("protocol", "protocol"),
    Column("base_url", "address"),
    Column("has_key", "key", lambda has: "yes" if has else "no", colour=lambda has: "green" if has else "yellow"),
    Column("key_source", "key from"),
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
    session.output.rows(_COLUMNS, session.client.list_providers(), empty="No providers.")
    return 0


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
    else:
        session.output.say(words)

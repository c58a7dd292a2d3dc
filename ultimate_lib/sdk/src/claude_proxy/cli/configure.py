"""`config`: the client's own settings in ~/.claude_proxy/config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy import config, places
from claude_proxy.cli.output import Column
from claude_proxy.cli.parser import command, group
from claude_proxy.cli.session import secret
from claude_proxy.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

_COLUMNS = (Column("name", "name"), Column("value", "value"))


def add(commands: Any) -> None:
    """Add the commands."""
    names = ", ".join(config.SETTINGS)
    parent = command(
        commands, "config", None, says=f"Settings of this client: {names}.", example="claude-proxy config show"
    )
    below = group(parent, required=True)
    parser = command(
        below, "set", _set, says=f"Set one of {names}; a key is asked for when it is not given.",
        example="claude-proxy config set api_key cp_your_key", mends_config=True,
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("value", metavar="VALUE", nargs="?")
    parser = command(
        below,
        "get",
        _get,
        says="Show one setting, of a key its beginning.",
        example="claude-proxy config get base_url",
    )
    parser.add_argument("name", metavar="NAME")
    command(below, "show", _show, says="Show all settings and where they stand.", example="claude-proxy config show")
    parser = command(
        below,
        "unset",
        _unset,
        says="Forget a setting.",
        example="claude-proxy config unset api_key",
        mends_config=True,
    )
    parser.add_argument("name", metavar="NAME")


def _set(session: Session) -> int:
    asked, output = session.arguments, session.output
    name, value = config.known(asked.name), asked.value
    if value is None:
        if name != "api_key":
            raise BadRequest(f"'{name}' needs a value.", hint=f"claude-proxy config set {name} VALUE", code="setting")
        value = secret("key of the proxy")
    config.change(name, value)
    if name == "api_key" and not config.is_real_key(value.strip()):
        output.say(
            "Warning: this is not a key that a proxy makes (cp_ and 43 characters); it is saved nevertheless. "
            "A real one: `claude-proxy keys create NAME`, or `ultimate-proxy up` prints where it stands."
        )
    output.say(f"{name} = {config.shown(name, value.strip())} in {places.config_path()}")
    return 0


def _get(session: Session) -> int:
    name = config.known(session.arguments.name)
    value = places.read_config().get(name)
    if value is None:
        raise NotFound(f"'{name}' is not set.", hint=f"Set it: claude-proxy config set {name} VALUE", code="setting")
    text = config.shown(name, value)
    if session.output.form == "json":
        session.output.json({name: text})
    else:
        session.output.line(text)
    return 0


def _show(session: Session) -> int:
    told = places.read_config()
    rows = [{"name": name, "value": config.shown(name, told[name])} for name in config.SETTINGS if name in told]
    place = places.find(session.arguments.url)
    document = {
        "path": str(places.config_path()),
        "settings": {row["name"]: row["value"] for row in rows},
        "url": place.url,
        "source": place.source,
    }
    session.output.rows(_COLUMNS, rows, document=document, empty="Nothing is set.")
    if session.output.form == "table":
        session.output.line(f"\nFile: {places.config_path()}")
        session.output.line(f"Proxy in use: {place.url} (address from: {place.source})")
    return 0


def _unset(session: Session) -> int:
    name = config.known(session.arguments.name)
    config.change(name, None)
    session.output.say(f"{name} is not set any more.")
    return 0

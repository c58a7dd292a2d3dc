"""`ultimate-proxy check`: is the configuration right, and what follows from it?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, overrides, settings_and_text
from ultimate_lib.errors import NotFound, UltimateError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rich.console import Console

    from ultimate_lib.providers import Routes
    from ultimate_lib.settings import Settings

SECTIONS = ("server", "data", "record", "limits", "billing", "tiers", "log")
_DEMO_URL = "http://127.0.0.1"  # its port is known only while it runs
_WIDE = 160  # columns, where there is no terminal to ask


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="validate the configuration and print the effective routes",
        description="Validate the configuration as a start or a reload would, and print what is in force: where each "
        "setting comes from, the providers (keys masked) and where models go.",
    )
    add_places(parser)
    parser.add_argument("--all", action="store_true", help="print the settings that have their default, too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and print. Raises `UltimateError` with file, line, value and what would be right."""
    from rich.console import Console  # noqa: PLC0415 - other commands do not pay for tables

    settings, _ = settings_and_text(arguments, overrides(arguments))
    routes = effective_routes(settings)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDE)
    where = settings.config_path or "none (built-in values and the environment)"
    console.print(f"configuration  {where}", soft_wrap=True)
    console.print(f"data folder    {settings.data_dir}", soft_wrap=True)
    _print_settings(console, settings, everything=arguments.all)
    _print_providers(console, settings, routes)
    _print_routes(console, settings, routes)
    console.print("The configuration is right.")
    return 0


def effective_routes(settings: Settings) -> Routes:
    """Return the routes that a gateway would have. Raises `Invalid`."""
    from proxy_server.gateway.forwarded import Trust  # noqa: PLC0415 - a command loads what it needs
    from proxy_server.gateway.server import certificate  # noqa: PLC0415
    from ultimate_lib.pricing import PriceBook, pricelist  # noqa: PLC0415
    from ultimate_lib.providers import Routes, check_tiers, configured  # noqa: PLC0415
    from ultimate_lib.sealed import MasterKey  # noqa: PLC0415

    Trust(settings.server.trusted_proxies)
    certificate(settings)
    if MasterKey.is_given(settings):  # else a file is made where there is none
        MasterKey.load(settings)
    book = PriceBook(pricelist.load())
    stored = _stored(settings)
    check_tiers(settings, book, demo_url=_DEMO_URL, stored=stored)
    return Routes(settings, configured(settings, demo_url=_DEMO_URL, stored=stored), book)


def _stored(settings: Settings) -> Callable[[str, str], str] | None:
    """Return where keys that people have entered are found; None while there is no store to look into."""
    from ultimate_lib.access import provider_keys  # noqa: PLC0415 - see above
    from ultimate_lib.sealed import MasterKey  # noqa: PLC0415
    from ultimate_lib.store import Store  # noqa: PLC0415

    store = Store(settings.store_url)
    try:
        if store.path is not None and not store.path.exists():
            return None
        return provider_keys.read(store, MasterKey.load(settings)).key
    except UltimateError:  # `doctor` says what is wrong with the store
        return None
    finally:
        store.close()


def _print_settings(console: Console, settings: Settings, *, everything: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - see above

    table = Table("setting", "value", "from", title="Settings", title_justify="left")
    for section in SECTIONS:
        part = getattr(settings, section)
        for name in part.__struct_fields__:
            origin = settings.origin(f"{section}.{name}")
            if everything or origin != "default":
                table.add_row(f"{section}.{name}", _shown(name, getattr(part, name)), _short(settings, origin))
    if table.row_count:
        console.print(table)
    else:
        console.print("Every setting has its default; --all prints them.")


def _short(settings: Settings, origin: str) -> str:
    """Return an origin with the file's name alone; its path stands at the top."""
    path = settings.config_path
    return origin if path is None else origin.replace(str(path), path.name)


def _shown(name: str, value: object) -> str:
    if name == "store_url" and isinstance(value, str) and "@" in value:  # a database's password
        scheme, _, rest = value.partition("://")
        return f"{scheme}://…@{rest.rpartition('@')[2]}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _print_providers(console: Console, settings: Settings, routes: Routes) -> None:
    from rich.table import Table  # noqa: PLC0415 - see above

    names = ("provider", "protocol", "address", "auth", "key", "prices", "from")
    table = Table(*names, title="Providers", title_justify="left")
    for row in routes.table():
        built_in = row["base_url"] == _DEMO_URL
        address = "the scripted provider, started when it is called" if built_in else row["base_url"]
        key = row["key"] or "-"
        origin = _short(settings, row["from"])
        table.add_row(row["provider"], row["protocol"], address, row["auth"], key, row["prices"], origin)
    console.print(table)


def _print_routes(console: Console, settings: Settings, routes: Routes) -> None:
    from rich.table import Table  # noqa: PLC0415 - see above

    table = Table("a call for", "goes to", "from", title="Routes", title_justify="left")
    for alias, entry in settings.models.items():
        ranked = sorted(entry.deployments, key=lambda one: (one.priority, -one.weight))
        targets = ", ".join(f"{one.provider}/{one.model} (weight {one.weight:g})" for one in ranked)
        table.add_row(alias, targets, _short(settings, settings.origin(f"models.{alias}")))
    for word, tier in (("opus", "big"), ("sonnet", "middle"), ("haiku", "small")):
        target = getattr(settings.tiers, tier)
        if target:
            origin = _short(settings, settings.origin(f"tiers.{tier}"))
            table.add_row(f"claude…{word}…", _led(routes, target), origin)
    for row in routes.table():
        table.add_row(f"{row['provider']}/<model>", f"<model> at {row['provider']}", _short(settings, row["from"]))
    rest = "the first provider of its protocol whose price list knows it, or the only one"
    table.add_row("<model>", rest, "built in")
    console.print(table)


def _led(routes: Routes, target: str) -> str:
    """Return where a tier's calls go, and whether its provider may not know what it is sent."""
    from ultimate_lib import protocols  # noqa: PLC0415 - see above

    found = []
    for protocol in protocols.names():
        with contextlib.suppress(NotFound):
            route = routes.find(protocol, target)
            if route.model == target:
                known = routes.prices(route)
                found.append(f"{target} at {route.provider.name}{'' if known else ', which may not know it'}")
    return "; ".join(found) or target

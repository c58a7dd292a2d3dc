"""`ultimate-proxy link`: a fresh link that signs in, for who has lost the one that the start printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, overrides, settings_and_text
from ultimate_lib.access.local import sign_in_link
from ultimate_lib.clock import SystemClock
from ultimate_lib.store import Store

if TYPE_CHECKING:
    import argparse


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "link",
        help="print a fresh link that signs in",
        description="Print a link that signs this computer's administrator in: once, within 30 minutes.",
    )
    parser.set_defaults(run=run)
    add_places(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    settings, _ = settings_and_text(arguments, overrides(arguments))
    store = Store(settings.store_url)
    try:
        print(sign_in_link(settings, store, SystemClock()))
    finally:
        store.close()
    return 0

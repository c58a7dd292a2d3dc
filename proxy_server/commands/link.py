"""`ultimate-proxy link`: a fresh link that signs in, for who has lost the one that the start printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, running_or_kept, the_store
from ultimate_lib.access.local import sign_in_link
from ultimate_lib.clock import SystemClock

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
    settings = running_or_kept(arguments)
    with the_store(settings) as store:
        print(sign_in_link(settings, store, SystemClock()))
    return 0

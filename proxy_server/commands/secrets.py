"""`ultimate-proxy secrets rotate`: seal the stored secrets under another master key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, kept, the_store
from ultimate_lib.access import master
from ultimate_lib.access.local import login_name
from ultimate_lib.clock import SystemClock
from ultimate_lib.sealed import MasterKey, key_file

if TYPE_CHECKING:
    import argparse


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("secrets", help="secrets at rest: `secrets rotate` changes the master key")
    below = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    rotate = below.add_parser(
        "rotate",
        help="seal the stored secrets under another master key",
        description="Make another master key, seal everything under it, then forget the old one. A proxy that runs "
        "goes along. What is interrupted is finished by asking again; until then both keys open. With "
        "ULTIMATE_MASTER_KEY, write the new key before the old one there, a space between, restart, and run this.",
    )
    rotate.set_defaults(run=run)
    add_places(rotate)


def run(arguments: argparse.Namespace) -> int:
    """Rotate."""
    settings = kept(arguments)
    with the_store(settings) as store:
        key = MasterKey.load(settings)
        done = master.rotate(store, SystemClock(), key, actor=login_name())
    print(f"{done.sealed} secrets are sealed under the master key {key.id.hex()}.")
    if not key.is_file:
        print("Take the old key out of ULTIMATE_MASTER_KEY now." if not done.dropped else "There was no older key.")
    else:
        print(f"{key_file(settings)} holds it alone. Old backups still need the old key.")
    return 0

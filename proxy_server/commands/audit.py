"""`ultimate-proxy audit verify`: does the chain of the audit's rows hold, on the server's own files?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, kept, the_store
from ultimate_lib.access import audits
from ultimate_lib.clock import SystemClock

if TYPE_CHECKING:
    import argparse


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "audit",
        help="verify the audit's chain of rows",
        description="Look through the audit: each row's hash covers the one before it. Exit status 1 when one does "
        "not follow. Rows cut off at the end show only against a hash that was kept elsewhere.",
    )
    parser.add_argument("what", choices=("verify",))
    parser.set_defaults(run=run)
    add_places(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify and print."""
    with the_store(kept(arguments)) as store:
        told = audits.verify(store, SystemClock())
    if told.broken_at is not None:
        print(f"Row {told.broken_at} of the audit does not follow from the one before: it, or that one, was changed.")
        return 1
    print(f"The audit holds: {told.rows} rows, the last is number {told.last_number}, {told.last_hash.hex()}.")
    return 0

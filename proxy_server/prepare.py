"""What must stand before anyone serves: the store's schema, the local administrator, `local.json`, a sign-in link.

A process of its own, so that the supervisor stays small: the database libraries leave with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.access.local import first_start
from ultimate_lib.clock import SystemClock
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store

if TYPE_CHECKING:
    from proxy_server.process import Child
    from ultimate_lib.settings import Settings


class Prepared(msgspec.Struct, frozen=True):
    """What was found or made."""

    link_token: str
    local_json: str | None
    migrations: list[str]


def prepare(settings: Settings) -> Prepared:
    """Bring store and local access up to date. Raises `UltimateError` with what to do."""
    MasterKey.load(settings)
    store = Store(settings.store_url)
    try:
        steps = store.migrate()
        made = first_start(settings, store, SystemClock())
    finally:
        store.close()
    return Prepared(made.link_token, str(made.local_json) if made.local_json else None, steps)


async def run(child: Child) -> None:
    """Prepare, and tell the supervisor what there is now."""
    child.ready(msgspec.json.encode(prepare(child.settings)))

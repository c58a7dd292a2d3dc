"""Refusals in the audit: failed sign-ins, changes denied, forged requests. At most one row a second and address.

What is not written is counted and told with the next row of that address.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ultimate_lib.access.changes import audited
from ultimate_lib.errors import UltimateError
from ultimate_lib.store import audit

if TYPE_CHECKING:
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_MOST_ADDRESSES = 1000
_guard = threading.Lock()
_last: WeakKeyDictionary[Store, dict[str, tuple[float, int]]] = WeakKeyDictionary()
"""Store → address → when its last row was written, and how many refusals have passed since."""


def note(  # noqa: PLR0917 - the columns of the row
    store: Store, clock: Clock, actor: str, action: str, target: str, address: str, code: str
) -> None:
    """Write a refusal down, unless this address had one within a second. Never raises: refused it is all the same."""
    skipped = _take(store, clock.monotonic(), address)
    if skipped is None:
        return
    after = {"code": code, "skipped": skipped} if skipped else {"code": code}
    try:
        with store.begin() as connection:
            audit.append(connection, audited(clock.now(), actor, action, target[:200], address, after))
    except UltimateError as error:
        log.warning("The refusal %s of %s to %s is not in the audit: %s", code, action, address, error)


def _take(store: Store, now: float, address: str) -> int | None:
    """Return how many were skipped since the last row; None while another row would be too many."""
    with _guard:
        known = _last.setdefault(store, {})
        at, skipped = known.pop(address, (float("-inf"), 0))
        if now - at < _EVERY_S:
            known[address] = (at, skipped + 1)
            return None
        while len(known) >= _MOST_ADDRESSES:
            known.pop(next(iter(known)))
        known[address] = (now, 0)
        return skipped

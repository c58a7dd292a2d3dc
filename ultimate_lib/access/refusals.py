"""Refusals in the audit: failed sign-ins, changes denied, forged requests; few rows, however many there are.

An address (for IPv6 its /64) leaves 20 rows at once, then one a minute, and of the same refusal again one a second at
most; all addresses together 1,000, then one in ten seconds. What is not written is counted, for the next row to tell.
Known callers and strangers are counted apart: strangers who fill their share hide no refusal of a user.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ultimate_lib.access.addresses import network
from ultimate_lib.access.changes import audited
from ultimate_lib.errors import UltimateError
from ultimate_lib.store import audit

if TYPE_CHECKING:
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

log = logging.getLogger(__name__)

STRANGER = "anonymous"
"""How the audit calls who is not known."""
EVERY_S = 1.0
OF_ADDRESS, OF_ADDRESS_EVERY_S = 20, 60.0
OF_ALL, OF_ALL_EVERY_S = 1000, 10.0
_MOST_ADDRESSES = 1000
_guard = threading.Lock()
_written: WeakKeyDictionary[Store, dict[bool, _Written]] = WeakKeyDictionary()
"""Store → whether the caller is known → what was written of such refusals."""


class _Rows:
    """Rows that may be written: so many at once, one more every so many seconds; and refusals that left none."""

    def __init__(self, most: int, every_s: float, now: float) -> None:
        self._most, self._every_s = most, every_s
        self._left, self._at = float(most), now
        self.last: tuple[tuple[str, ...], float] = ((), float("-inf"))
        self.skipped = 0

    def has_one(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._at) / self._every_s)
        self._at = now
        return self._left >= 1

    def take(self, what: tuple[str, ...], now: float) -> int:
        """Use one row up and return how many were skipped since the last."""
        skipped, self.skipped = self.skipped, 0
        self._left -= 1
        self.last = (what, now)
        return skipped


class _Written:
    """What was written of strangers' refusals, or of known callers'."""

    def __init__(self, now: float) -> None:
        self._all = _Rows(OF_ALL, OF_ALL_EVERY_S, now)
        self._places: OrderedDict[str, _Rows] = OrderedDict()

    def take(self, place: str, what: tuple[str, ...], now: float) -> dict[str, int] | None:
        """Return what a row tells of those that were skipped; None while another row would be too many."""
        mine = self._places.get(place)
        if mine is None:
            mine = self._places[place] = _Rows(OF_ADDRESS, OF_ADDRESS_EVERY_S, now)
        self._places.move_to_end(place)
        while len(self._places) > _MOST_ADDRESSES:
            self._all.skipped += self._places.popitem(last=False)[1].skipped
        last, last_at = mine.last
        if (what == last and now - last_at < EVERY_S) or not mine.has_one(now):
            mine.skipped += 1
            return None
        if not self._all.has_one(now):
            self._all.skipped += 1
            return None
        told = {"skipped": mine.take(what, now), "skipped_elsewhere": self._all.take(what, now)}
        return {name: number for name, number in told.items() if number}


def note(  # noqa: PLR0917 - the columns of the row
    store: Store, clock: Clock, actor: str, action: str, target: str, address: str, code: str
) -> None:
    """Write a refusal down unless there are too many rows already. Never raises: refused it is all the same."""
    now = clock.monotonic()
    with _guard:
        shares = _written.setdefault(store, {})
        share = shares.setdefault(actor != STRANGER, _Written(now))
        skipped = share.take(network(address), (actor, action, target, code), now)
    if skipped is None:
        return
    try:
        with store.begin() as connection:
            audit.append(
                connection, audited(clock.now(), actor, action, target[:200], address, {"code": code, **skipped})
            )
    except UltimateError as error:
        log.warning("The refusal %s of %s to %s is not in the audit: %s", code, action, address, error)

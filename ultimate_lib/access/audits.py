"""Reading the audit: who changed what, and whether the chain of its rows still holds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from ultimate_lib.errors import Limited
from ultimate_lib.store import audit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store
    from ultimate_lib.store.audit import Verified

_SHOWN = ("number", "at", "actor", "action", "object", "before", "after", "address")


class Look(NamedTuple):
    """A look through the whole chain, and when it was taken."""

    at: datetime
    told: Verified


_turn = threading.Lock()
_looks: WeakKeyDictionary[Store, Look] = WeakKeyDictionary()
"""The last look of this process. It is not in the store: who changes rows there could change it as well."""


def found(
    store: Store,
    who: Principal,
    equal: Mapping[str, str],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    before: int | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return rows, newest first. `equal` may name actor, action and object; `before` is a row's number."""
    who.require("audit:view")
    with store.begin() as connection:
        rows = audit.found(connection, equal, start=start, end=end, before=before, limit=limit)
    return [{name: row[name] for name in _SHOWN} for row in rows]


def verify(store: Store, clock: Clock) -> Verified:
    """Look through the whole chain, whoever asks: the server's command does, on its own files.

    It reads some ten thousand rows a second. Raises `Limited` while another one looks.
    """
    if not _turn.acquire(blocking=False):
        raise Limited(
            "The audit is being verified just now.",
            hint="Look at it again in some seconds.",
            code="audit_busy",
            retry_after_s=5.0,
        )
    try:
        at = clock.now()
        with store.begin() as connection:
            told = audit.verify(connection)
        _looks[store] = Look(at, told)
    finally:
        _turn.release()
    return told


def last_look(store: Store) -> tuple[Look | None, int]:
    """Return the last look through the chain that this process took, and the number of the last row there is now."""
    with store.begin() as connection:
        return _looks.get(store), audit.last(connection)

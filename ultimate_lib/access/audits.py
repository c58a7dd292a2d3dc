"""Reading the audit: who changed what, and whether the chain of its rows still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultimate_lib.store import audit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.store import Store
    from ultimate_lib.store.audit import Verified

_SHOWN = ("number", "at", "actor", "action", "object", "before", "after", "address")


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


def verify(store: Store) -> Verified:
    """Look through the whole chain, whoever asks: the server's command does, on its own files."""
    with store.begin() as connection:
        return audit.verify(connection)

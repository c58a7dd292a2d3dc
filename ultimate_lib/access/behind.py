"""Who calls with a key, for one who asks about its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access import chain, views
from ultimate_lib.errors import NotFound
from ultimate_lib.store import keys

if TYPE_CHECKING:
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.store import Store


class Behind(NamedTuple):
    """A key's id as its calls are booked, and its caller; null: the store has no such key, or it has ended."""

    key_id: str
    principal: Principal | None


def behind(store: Store, who: Principal, key_id: str) -> Behind:
    """Return who calls with a key. Raises `NotFound`, also for keys whose calls the caller may not see.

    Who sees all calls may ask about any id: calls outlive their keys.
    """
    if key_id == who.key_id:
        return Behind(key_id, who)
    with store.begin() as connection:
        row = keys.by_id(connection, key_id)
        if row is None and who.sees_all:
            return Behind(key_id, None)
        if row is None or not views.may_see(who, row):
            raise NotFound(
                f"There is no key '{key_id[:60]}' whose calls you may see.",
                hint="Leave key_id out for the key that you ask with.",
                code="key_unknown",
            )
        links = chain.read(connection, row)
    return Behind(row["rotated_from"] or key_id, chain.principal(links) if links else None)

"""People for tests: users with roles, as callers."""

from __future__ import annotations

from ultimate_lib.access.principal import Principal, of_user
from ultimate_lib.clock import Clock
from ultimate_lib.store import Store, identities, people


def person(store: Store, clock: Clock, name: str, **roles: str) -> Principal:
    """Add a user who holds roles (role → scope) and return it as a session's caller."""
    with store.begin() as connection:
        people.add_user(connection, {"id": f"user_{name}", "name": name, "active": True, "created_at": clock.now()})
        people.set_roles(connection, f"user_{name}", roles)
    return again(store, f"user_{name}")


def again(store: Store, user_id: str) -> Principal:
    """Return a user as a caller, as it is now."""
    with store.begin() as connection:
        row = people.user(connection, user_id)
        assert row is not None
        return of_user(
            user_id, row["name"], identities.roles_of(connection, user_id), identities.teams_of(connection, user_id)
        )

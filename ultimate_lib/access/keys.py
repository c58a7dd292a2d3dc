"""Keys: `cp_` and 43 characters, shown once, kept as SHA-256; looked up from memory on the hot path."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ultimate_lib.access.changes import audited
from ultimate_lib.access.principal import of_user
from ultimate_lib.access.roles import PERMISSIONS, permissions_of
from ultimate_lib.errors import Denied, Invalid, NotFound
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, identities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

SHAPE = re.compile(r"cp_[A-Za-z0-9_-]{43}")
_PREFIX_SHOWN = 10
_TTL_S = 5.0
_VERSION_CHECK_S = 0.5
_MOST_KEPT = 10_000


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


class KeyCache:
    """Finds the principal of a key: from memory for five seconds, else from the store.

    A key that is revoked, or whose user is deactivated, stops working within these five seconds; sooner when the
    store can tell that another process has written. Not safe for several threads.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[float, Principal | None]] = {}
        self._version = 0
        self._checked = float("-inf")

    def lookup(self, token: str) -> Principal | None:
        """Return the caller behind a key, or None. Raises `Unavailable` when the store is needed and away."""
        now = self._clock.monotonic()
        if now - self._checked >= _VERSION_CHECK_S:
            self._drop_if_written(now)
        kept = self._known.get(token)  # the whole key is the key of the cache
        if kept is not None and now < kept[0]:
            principal = kept[1]
        else:
            principal = self._read(token) if SHAPE.fullmatch(token) else None
            if len(self._known) >= _MOST_KEPT:  # wrong keys are kept too, but not without end
                self._known.clear()
            self._known[token] = (now + _TTL_S, principal)
        if principal is not None and principal.expires_at_us is not None:
            return principal if self._clock.now_us() < principal.expires_at_us else None
        return principal

    def _drop_if_written(self, now: float) -> None:
        self._checked = now
        version = self._store.data_version()
        if version != self._version:
            self._version = version
            self._known.clear()

    def _read(self, token: str) -> Principal | None:
        with self._store.begin() as connection:
            row = identities.key_by_hash(connection, digest(token))
            if row is None or row["revoked_at"] is not None or not row["user_active"]:
                return None
            roles = identities.roles_of(connection, row["user_id"])
            teams = identities.teams_of(connection, row["user_id"])
        return _principal(row, roles, teams)


def _principal(row: RowMapping, roles: dict[str, str], teams: dict[str, bool]) -> Principal:
    expires_at = row["expires_at"]
    return of_user(
        row["user_id"],
        row["user_name"],
        roles,
        teams,
        permissions=permissions_of(roles) & frozenset(row["scopes"]),  # a role taken away takes the key's share along
        key_id=row["id"],
        team=row["team"] or next(iter(teams), None),
        project=row["project"],
        cost_center=row["cost_center"],
        app=row["app"],
        models=tuple(row["models"]) if row["models"] is not None else None,
        loopback_only=row["loopback_only"],
        expires_at_us=int(expires_at.timestamp() * 1_000_000) if expires_at is not None else None,
    )


def create_key(
    store: Store,
    clock: Clock,
    maker: Principal,
    *,
    name: str,
    scopes: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    project: str | None = None,
    expires_in_days: int | None = None,
    loopback_only: bool = False,
    address: str = "",
) -> tuple[str, dict[str, Any]]:
    """Make a key for its maker and return (the key, shown this once; its row without the hash).

    Scopes are permissions, by default what an API user has; they may not exceed the maker's (`Denied`).
    """
    name = name.strip()
    if not name or len(name) > 100:  # noqa: PLR2004 - long enough for a name
        raise Invalid("A key needs a name of 1 to 100 characters.", code="key_name")
    wanted = frozenset(scopes if scopes is not None else {"proxy:call", "analytics:view"})
    unknown = wanted - PERMISSIONS.keys()
    if unknown:
        raise Invalid(f"There is no permission '{min(unknown)}'.", hint=f"Known: {', '.join(PERMISSIONS)}.")
    excess = wanted - maker.permissions
    if excess:
        raise Denied(f"A key cannot hold '{min(excess)}', which its maker does not have.", code="key_scopes")
    if expires_in_days is not None and not 1 <= expires_in_days <= 3650:  # noqa: PLR2004 - ten years
        raise Invalid("A key lives 1 to 3650 days.", code="key_expiry")
    token = "cp_" + secrets.token_urlsafe(32)
    now = clock.now()
    row: dict[str, Any] = {
        "id": f"key_{new_call_id(clock.now_us())[-12:]}",
        "user_id": maker.user_id,
        "name": name,
        "prefix": token[:_PREFIX_SHOWN],
        "scopes": sorted(wanted),
        "models": list(models) if models is not None else None,
        "project": project,
        "loopback_only": loopback_only,
        "created_at": now,
        "expires_at": now + timedelta(days=expires_in_days) if expires_in_days is not None else None,
    }
    with store.begin() as connection:
        identities.add_key(connection, {**row, "hash": digest(token)})
        audit.append(
            connection, audited(now, maker.user_name, "key.create", row["id"], address, {"scopes": row["scopes"]})
        )
    return token, row


def revoke_key(store: Store, clock: Clock, actor: Principal, key_id: str, *, address: str = "") -> None:
    """End a key: one's own, or anyone's with `keys:manage`. Raises `NotFound`.

    A key that acts without `keys:manage` ends none that may do more than itself (`Denied`).
    """
    now = clock.now()
    owner = None if "keys:manage" in actor.permissions else actor.user_id
    with store.begin() as connection:
        if owner is not None and actor.key_id is not None:
            rows = identities.keys_of(connection, owner)
            if any(row["id"] == key_id and not actor.permissions >= set(row["scopes"]) for row in rows):
                raise Denied(
                    "A key cannot end one that may do more than itself.",
                    hint="Sign in, or ask with a key that has keys:manage.",
                    code="key_scopes",
                )
        if not identities.revoke_key(connection, key_id, owner, now):
            raise NotFound(f"There is no live key '{key_id}' of yours.", code="key_unknown")
        audit.append(connection, audited(now, actor.user_name, "key.revoke", key_id, address, None))


def list_keys(store: Store, user_id: str) -> list[dict[str, Any]]:
    """Return a user's keys without hashes, newest first."""
    with store.begin() as connection:
        rows = identities.keys_of(connection, user_id)
    hidden = {"hash", "user_name", "user_active"}
    return [{name: value for name, value in row.items() if name not in hidden} for row in rows]

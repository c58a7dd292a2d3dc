"""Keys: made, listed, changed, rotated, ended; who may do so, and how far a key may reach.

A key made with a key never outreaches it, neither when it is made nor later: see `access.chain`. Rotation gives a key
another secret; the key itself, with its budgets, its usage and the keys made with it, stays the same.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct, UnsetType

from ultimate_lib.access import chain, key_rules
from ultimate_lib.access.changes import Changed, audited, expect
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.access.roles import permissions_of, view_of
from ultimate_lib.access.tokens import PREFIX_SHOWN, SHAPE, digest, new_token
from ultimate_lib.errors import Denied, Invalid, NotFound
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, identities
from ultimate_lib.store import keys as rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

__all__ = [
    "SHAPE",
    "KeyCache",
    "KeyChange",
    "change",
    "create_key",
    "digest",
    "ids_of",
    "list_keys",
    "one",
    "revoke_key",
    "rotate",
    "sees_below",
    "set_guard",
]

MOST_OVERLAP_H = 168
_DEFAULT_SCOPES = ("proxy:call", "analytics:view")
_HIDDEN = frozenset({"hash", "user_active"})
_TOLD = (
    "user_id", "name", "scopes", "models", "team", "project", "cost_center", "app", "tags", "locked", "guard",
    "loopback_only", "expires_at", "parent_id",
)  # fmt: skip


class KeyChange(Struct, kw_only=True):
    """What shall be different about a key; what is unset stays, null takes a value away."""

    name: str | UnsetType = UNSET
    models: list[str] | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    team: str | UnsetType | None = UNSET
    project: str | UnsetType | None = UNSET
    cost_center: str | UnsetType | None = UNSET
    app: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    locked: list[str] | UnsetType = UNSET
    guard: str | UnsetType | None = UNSET


def create_key(
    store: Store,
    clock: Clock,
    maker: Principal,
    *,
    name: str,
    user_id: str | None = None,
    scopes: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    team: str | None = None,
    project: str | None = None,
    cost_center: str | None = None,
    app: str | None = None,
    tags: Sequence[str] | None = None,
    locked: Sequence[str] = (),
    expires_in_days: int | None = None,
    loopback_only: bool = False,
    guard: str | None = None,
    address: str = "",
) -> tuple[str, dict[str, Any]]:
    """Make a key and return (the key, shown this once; its row with its user's name, without the hash).

    It is its maker's own, or with `keys:manage` another user's. Scopes are permissions, by default what an API user
    has; they may exceed neither the maker's nor the user's. What a key makes inherits what it does not name, ends
    no later, and keeps to its models and locks. `guard` needs settings:manage.
    Raises `Invalid`, `Denied`, `NotFound`.
    """
    _require_present(maker)
    wanted = key_rules.scopes(scopes if scopes is not None else _DEFAULT_SCOPES, maker.permissions, "its maker")
    asked = {"team": team, "project": project, "cost_center": cost_center, "app": app, "tags": tags}
    now = clock.now()
    row: dict[str, Any] = {
        "id": f"key_{new_call_id(clock.now_us())[-12:]}",
        "user_id": user_id if user_id is not None else maker.user_id,
        "name": key_rules.name(name),
        "scopes": wanted,
        "models": key_rules.models_of(maker, models),
        **key_rules.attribution(maker, asked, locked),
        "loopback_only": loopback_only or (maker.loopback_only and "keys:manage" not in maker.permissions),
        "guard": key_rules.guard(maker, guard) if guard is not None else None,
        "created_at": now,
        "expires_at": key_rules.expiry(maker, now, expires_in_days),
        "parent_id": maker.key_id,
        "version": 1,
    }
    token = new_token()
    row["prefix"] = token[:PREFIX_SHOWN]
    with store.begin() as connection:
        _check_holder(connection, maker, row)
        _check_depth(connection, maker)
        rows.add(connection, {**row, "hash": digest(token)})
        audit.append(connection, audited(now, maker.user_name, "key.create", row["id"], address, _told(row)))
        made = rows.by_id(connection, row["id"])
    assert made is not None  # noqa: S101 - it was added just now
    return token, _shown(made)


def _check_holder(connection: Connection, maker: Principal, row: Mapping[str, Any]) -> None:
    """Raise unless the user of a new key is there and holds what the key shall."""
    user_id = row["user_id"]
    if user_id != maker.user_id:
        maker.require("keys:manage")
    user = rows.holder(connection, user_id)
    if user is None or not user["active"]:
        raise NotFound(f"There is no active user '{user_id}'.", code="user_unknown")
    roles = identities.roles_of(connection, user_id)
    key_rules.scopes(row["scopes"], permissions_of(roles), f"'{user['name']}'")
    if user_id != maker.user_id and maker.key_id is None:  # what a key makes sees no more than it: see `access.chain`
        key_rules.check_view(maker, view_of(roles))
    key_rules.check_team(row["team"], identities.teams_of(connection, user_id))


def _check_depth(connection: Connection, maker: Principal) -> None:
    if maker.key_id is None:
        return
    above = rows.by_id(connection, maker.key_id)
    found = chain.read(connection, above) if above is not None else None
    if found is None or len(found) >= chain.MOST_DEPTH or chain.principal(found) is None:
        raise Invalid(
            f"At most {chain.MOST_DEPTH} keys stand one above the other, and this one has ended or is the last.",
            hint="Make the key with one further up, or signed in.",
            code="key_depth",
        )


def change(
    store: Store,
    clock: Clock,
    actor: Principal,
    key_id: str,
    told: KeyChange,
    *,
    version: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Change a key and return its row: one's own, or anyone's with `keys:manage`.

    A key that lacks `keys:manage` only narrows; one that holds it gives no key more than it has. What was made with a
    key expires no later than it. Raises `Invalid` (412 when its version is another), `Denied`, `NotFound`.
    """
    now = clock.now()
    with store.begin() as connection:
        row = _to_change(connection, actor, key_id)
        expect(version, row)
        values = key_rules.changed(actor, row, told, identities.teams_of(connection, row["user_id"]))
        if not values:
            return _shown(row)
        if not rows.change(connection, key_id, row["version"], values):
            raise Changed(
                "This has changed meanwhile.", hint="Read it again, and repeat the change if it still holds."
            )
        if values.get("expires_at") is not None:
            rows.end_no_later(connection, _below(connection, key_id), values["expires_at"])
        before = _told({name: row[name] for name in values})
        audit.append(connection, audited(now, actor.user_name, "key.change", key_id, address, _told(values), before))
        changed = rows.by_id(connection, key_id)
    assert changed is not None  # noqa: S101 - keys are never deleted
    return _shown(changed)


def set_guard(
    store: Store, clock: Clock, actor: Principal, key_id: str, action: str | None, *, address: str = ""
) -> dict[str, Any]:
    """Say what is done about the unusual calls of anyone's key, and return its row; None: as the settings say.

    Raises `Invalid`, `Denied` without `settings:manage`, `NotFound`.
    """
    values = {"guard": key_rules.guard(actor, action)}
    with store.begin() as connection:
        row = rows.by_id(connection, key_id)
        if row is None or row["revoked_at"] is not None or row["rotated_from"] is not None:
            raise NotFound(f"There is no live key '{key_id[:60]}'.", code="key_unknown")
        if row["guard"] != action:
            if not rows.change(connection, key_id, row["version"], values):
                raise Changed("This has changed meanwhile.", hint="Try again.")
            before = {"guard": row["guard"]}
            audit.append(
                connection, audited(clock.now(), actor.user_name, "key.change", key_id, address, values, before)
            )
            row = rows.by_id(connection, key_id)
    assert row is not None  # noqa: S101 - keys are never deleted
    return _shown(row)


def guard_above(store: Store, row: Mapping[str, Any]) -> str | None:
    """Return what the keys above a key say is done about unusual calls; None: as the settings say."""
    with store.begin() as connection:
        links = chain.read(connection, row) or []
    return next((link.row["guard"] for link in links if link.row["guard"] is not None), None)


def rotate(
    store: Store,
    clock: Clock,
    actor: Principal,
    key_id: str,
    *,
    overlap_hours: int = 0,
    version: int | None = None,
    address: str = "",
) -> tuple[str, dict[str, Any], datetime]:
    """Give a key another secret; return (it, shown this once; the key's row; until when the former one works too).

    Raises `Invalid`, `Denied` for a key that may do more than the actor, `NotFound`.
    """
    if not 0 <= overlap_hours <= MOST_OVERLAP_H:
        raise Invalid(f"An overlap lasts 0 to {MOST_OVERLAP_H} hours.", code="key_overlap")
    token, now = new_token(), clock.now()
    retires_at = now + timedelta(hours=overlap_hours)
    with store.begin() as connection:
        row = _to_change(connection, actor, key_id)
        expect(version, row)
        key_rules.scopes(row["scopes"], actor.permissions, f"'{actor.user_name}' here")
        key_rules.check_reach(actor, row, chain.read(connection, row) or [])
        values = {"hash": digest(token), "prefix": token[:PREFIX_SHOWN]}
        if not rows.change(connection, key_id, row["version"], values):
            raise Changed("This has changed meanwhile.", hint="Read it again, and rotate it if that is still wanted.")
        if overlap_hours:
            former = {name: row[name] for name in (*_TOLD, "hash", "prefix", "created_at")}
            former |= {"id": f"key_{new_call_id(clock.now_us())[-12:]}", "retires_at": retires_at}
            rows.add(connection, {**former, "parent_id": key_id, "rotated_from": key_id, "version": 1})
        after = {"prefix": values["prefix"], "former_until": retires_at.isoformat()}
        before = {"prefix": row["prefix"]}
        audit.append(connection, audited(now, actor.user_name, "key.rotate", key_id, address, after, before))
        changed = rows.by_id(connection, key_id)
    assert changed is not None  # noqa: S101 - keys are never deleted
    return token, _shown(changed), retires_at


def revoke_key(
    store: Store, clock: Clock, actor: Principal, key_id: str, *, version: int | None = None, address: str = ""
) -> list[str]:
    """End a key and all that were made with it: one's own, or anyone's with `keys:manage`; return what ended.

    A key that may do less than its user ends itself and those made with it alone. Raises `NotFound`.
    """
    now = clock.now()
    with store.begin() as connection:
        row = _to_change(connection, actor, key_id, former=True)
        expect(version, row)
        ended = [key_id, *_below(connection, key_id)]
        if not rows.end(connection, ended, now):
            raise _unknown(key_id)
        audit.append(
            connection,
            audited(now, actor.user_name, "key.revoke", key_id, address, {"ended": ended}, {"name": row["name"]}),
        )
    return ended


def list_keys(
    store: Store,
    user_id: str | None = None,
    *,
    team: str | None = None,
    top: str | None = None,
    live_at: datetime | None = None,
    ended_at: datetime | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 500,
) -> list[dict[str, Any]]:
    """Return keys without hashes, newest first: everyone's, a user's or a team's; the caller decides who may.

    `top` leaves one key and those made with it (see `sees_below`), `live_at` and `ended_at` those that live, or have
    ended, at a moment; `before` is a place in the list.
    """
    with store.begin() as connection:
        found = rows.listed(
            connection,
            user_id=user_id,
            team=team,
            ids=[top, *_below(connection, top)] if top is not None else None,
            live_at=live_at,
            ended_at=ended_at,
            before=before,
            limit=limit,
        )
    return [_shown(row) for row in found]


def sees_below(who: Principal) -> str | None:
    """Return the key above all that a narrow key sees and changes: itself. None for others: those of its user."""
    return who.key_id if who.narrow and "keys:manage" not in who.permissions else None


def ids_of(connection: Connection, who: Principal) -> set[str]:
    """Return the ids of the caller's own keys, also ended ones: its user's; a narrow one's: it and what it made."""
    top = sees_below(who)
    return {top, *_below(connection, top)} if top is not None else rows.ids_of(connection, who.user_id)


def one(store: Store, who: Principal, key_id: str) -> dict[str, Any]:
    """Return a key that the caller may see: its own, with `keys:manage` anyone's, those booked on a team it leads."""
    with store.begin() as connection:
        row = rows.by_id(connection, key_id)
        if row is None or not (_is_within(connection, who, row) or row["team"] in who.leads):
            raise _unknown(key_id)
    return _shown(row)


def _is_within(connection: Connection, who: Principal, row: Mapping[str, Any]) -> bool:
    """Say whether a key is the caller's own, or anyone's with `keys:manage`; a narrow key owns what it made."""
    if "keys:manage" in who.permissions:
        return True
    top = sees_below(who)
    if row["user_id"] != who.user_id or top is None:
        return bool(row["user_id"] == who.user_id)
    return any(link.row["id"] == top for link in chain.read(connection, row) or ())


def _to_change(connection: Connection, actor: Principal, key_id: str, *, former: bool = False) -> Mapping[str, Any]:
    """Return the row of a live key that the actor may change. Raises `NotFound`, `Invalid`, `Denied`."""
    row = rows.by_id(connection, key_id)
    if row is None or row["revoked_at"] is not None or not _is_within(connection, actor, row):
        raise _unknown(key_id)
    if row["rotated_from"] is None:
        _require_present(actor)
    if row["rotated_from"] is not None and not former:
        raise Invalid(
            f"This is a former secret of '{row['rotated_from']}'.",
            hint="Change that key, or end this.",
            code="former",
        )
    return row


def _require_present(actor: Principal) -> None:
    """Raise `Denied` for a former secret: who was rotated away takes no key over and shuts no owner out."""
    if actor.former:
        raise Denied(
            "A former secret makes, changes, rotates and ends no key.",
            hint="Ask with the key's new one.",
            code="former",
        )


def _below(connection: Connection, key_id: str) -> list[str]:
    """Return the ids of all keys below one."""
    found: list[str] = []
    level = [key_id]
    while level:
        level = [one for one in rows.made_with(connection, level) if one not in found]
        found += level
    return found


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"There is no live key '{key_id[:60]}' of yours.", code="key_unknown")


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _HIDDEN}


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit keeps of a key's row."""
    told = {name: row[name] for name in _TOLD if name in row}
    if told.get("expires_at") is not None:
        told["expires_at"] = told["expires_at"].isoformat()
    return told

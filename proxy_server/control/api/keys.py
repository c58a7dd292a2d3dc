"""Everyone makes, sees and ends their own keys. A key made with a key never outreaches the one that made it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from ultimate_lib.access import keys
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.workbench import Workbench

_DAY_US = 86_400_000_000


class NewKey(Struct, kw_only=True):
    """What a key shall be."""

    name: str
    scopes: list[str] | None = None  # permissions; default: proxy:call and analytics:view
    models: list[str] | None = None  # models it may call; default: all that its maker may
    project: str | None = None  # project that its calls are booked on
    expires_in_days: int | None = None
    loopback_only: bool = False  # usable on this computer alone


class Key(Struct, kw_only=True):
    """A key, without what would let one use it."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    models: list[str] | None
    project: str | None
    loopback_only: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None


class MadeKey(Struct):
    """A new key. `key` is told this once."""

    key: str
    about: Key


class Keys(Struct):
    """A user's keys."""

    keys: list[Key]


class OneKey(Struct):
    """Which key."""

    id: str


class Revoked(Struct):
    """The key that ended."""

    id: str


def listed(bench: Workbench, caller: Caller, _: Nothing) -> Keys:
    """Return the caller's own keys."""
    return Keys([_about(row) for row in keys.list_keys(bench.store, caller.known.user_id)])


def create(bench: Workbench, caller: Caller, told: NewKey) -> MadeKey:
    """Make a key for the caller. Raises `Denied` when it would be allowed more than what makes it."""
    maker = caller.known
    token, row = keys.create_key(
        bench.store,
        bench.clock,
        maker,
        name=told.name,
        scopes=told.scopes,
        models=_models(maker, told.models),
        project=told.project if told.project is not None else maker.project,
        expires_in_days=_days(bench, maker, told.expires_in_days),
        loopback_only=told.loopback_only or (maker.loopback_only and "keys:manage" not in maker.permissions),
        address=caller.address,
    )
    return MadeKey(token, _about(row))


def revoke(bench: Workbench, caller: Caller, told: OneKey) -> Revoked:
    """End a key."""
    keys.revoke_key(bench.store, bench.clock, caller.known, told.id, address=caller.address)
    return Revoked(told.id)


def _models(maker: Principal, wanted: list[str] | None) -> list[str] | None:
    if maker.models is None:
        return wanted
    excess = sorted(set(wanted or ()) - set(maker.models))
    if excess:
        raise Denied(f"A key cannot call '{excess[0]}', which its maker may not.", code="key_models")
    return wanted if wanted is not None else list(maker.models)


def _days(bench: Workbench, maker: Principal, wanted: int | None) -> int | None:
    """Return the life of a key in days: never longer than what is left of the key that makes it."""
    if maker.expires_at_us is None:
        return wanted
    left = (maker.expires_at_us - bench.clock.now_us()) // _DAY_US
    if left < 1:
        raise Denied("The key that asks ends within a day.", hint="Ask with another one.", code="key_expiry")
    return left if wanted is None else min(wanted, left)


def _about(row: dict[str, Any]) -> Key:
    return msgspec.convert({name: row.get(name) for name in Key.__struct_fields__}, Key)

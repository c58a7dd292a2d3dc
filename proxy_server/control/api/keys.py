"""Everyone makes, sees, changes, rotates and ends their own keys; with `keys:manage` anyone's.

A key made with a key never outreaches the one that made it: see `ultimate_lib.access.keys`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from proxy_server.control import cursors
from proxy_server.control.api import span
from ultimate_lib.access import keys
from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.errors import Denied, Invalid

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

_KIND = "keys"
_MONTH = timedelta(days=30)
_LONG = timedelta(days=366)
_METRICS = (
    "requests", "errors", "input_tokens", "output_tokens", "total_tokens", "cost_usd", "unpriced_requests",
)  # fmt: skip


class NewKey(Struct, kw_only=True):
    """What a key shall be."""

    name: str
    user_id: str | None = None  # whose it shall be; default: the caller's own; another's needs keys:manage
    scopes: list[str] | None = None  # permissions; default: proxy:call and analytics:view
    models: list[str] | None = None  # models it may call, claude-* for all that begin so; default: as its maker
    team: str | None = None  # team that its calls are booked on; default: its user's first
    project: str | None = None  # project that its calls are booked on
    cost_center: str | None = None
    app: str | None = None
    tags: list[str] | None = None  # "name=value", of its calls
    locked: list[str] | None = None  # which of team, project, cost_center, app, tags its calls cannot change
    expires_in_days: int | None = None
    loopback_only: bool = False  # usable on this computer alone
    guard: str | None = None  # observe, warn or block its unusual calls; null: as the settings say; settings:manage


class KeyChanges(Struct, kw_only=True):
    """What shall be different; what is not named stays, null takes a value away."""

    id: str
    name: str | UnsetType = UNSET
    models: list[str] | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    team: str | UnsetType | None = UNSET
    project: str | UnsetType | None = UNSET
    cost_center: str | UnsetType | None = UNSET
    app: str | UnsetType | None = UNSET
    tags: list[str] | UnsetType = UNSET
    locked: list[str] | UnsetType = UNSET
    guard: str | UnsetType | None = UNSET  # observe, warn or block; needs settings:manage


class Key(Struct, kw_only=True):
    """A key, without what would let one use it."""

    id: str
    user_id: str
    user_name: str | None
    name: str
    prefix: str
    scopes: list[str]
    models: list[str] | None
    team: str | None
    project: str | None
    cost_center: str | None
    app: str | None
    tags: list[str]
    locked: list[str]
    loopback_only: bool
    guard: str | None  # what is done about its unusual calls; null: as the key above it, else the settings, say
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    parent_id: str | None  # the key that made it; it ends with it
    rotated_from: str | None  # this is a former secret of that key
    retires_at: datetime | None  # until when a former secret works
    version: int


class MadeKey(Struct):
    """A new key. `key` is told this once."""

    key: str
    about: Key


class RotatedKey(Struct):
    """A key with another secret. `key` is told this once; the former one works until `former_until`."""

    key: str
    about: Key
    former_until: datetime


class Keys(Struct):
    """Keys, newest first."""

    keys: list[Key]
    next: str | None


class Listing(Struct, kw_only=True):
    """Which keys. Default: the caller's own."""

    user: Annotated[str, Meta(description="Id of a user, or 'all': needs keys:manage.")] = ""
    team: Annotated[
        str, Meta(description="Name of a team, for the keys that name it: for its leads, and with keys:manage.")
    ] = ""
    state: Annotated[Literal["", "live", "ended"], Meta(description="Only those that live, or that have ended.")] = ""
    cursor: cursors.Cursor = ""
    limit: cursors.Limit = 100


class OneKey(Struct):
    """Which key."""

    id: str


class Rotation(Struct, kw_only=True):
    """How to rotate which key."""

    id: str
    overlap_hours: Annotated[int, Meta(ge=0, le=keys.MOST_OVERLAP_H)] = 0  # how long the former secret works too


class Revoked(Struct):
    """The key that ended."""

    id: str


class Asked(Struct, kw_only=True):
    """Whose usage over which span. Default: the last 30 days."""

    id: str
    start: Annotated[str, Meta(description="First day, or an instant; inclusive.")] = ""
    end: Annotated[str, Meta(description="Last day, inclusive, or an instant, exclusive; default: now.")] = ""
    time_zone: Annotated[str, Meta(description="IANA time zone that cuts days; default: the billing zone.")] = ""


class Usage(Struct, kw_only=True):
    """What a key was used for. Numbers that are not known are null."""

    id: str
    start: datetime
    end: datetime
    requests: int
    errors: int | None
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    cost_usd: float | None
    unpriced_requests: int
    last_used_at: datetime | None  # within a year before the span's end; null: not used


def listed(bench: Workbench, caller: Caller, asked: Listing) -> Keys:
    """Return keys: the caller's own, or those of whom it may see."""
    who = caller.known
    user_id: str | None = asked.user or (None if asked.team else who.user_id)
    if "keys:manage" not in who.permissions:
        if asked.user not in {"", who.user_id}:
            raise Denied("Another's keys need the permission 'keys:manage'.", code="permission")
        if asked.team and asked.team not in who.leads and user_id != who.user_id:
            raise Denied("A team's keys are for its leads.", hint="Ask for your own.", code="permission")
    place: tuple[int, str] | None = cursors.decode(asked.cursor, _KIND, tuple[int, str])
    now = bench.clock.now()
    found = keys.list_keys(
        bench.store,
        None if user_id == "all" else user_id,
        team=asked.team or None,
        top=keys.sees_below(who),
        live_at=now if asked.state == "live" else None,
        ended_at=now if asked.state == "ended" else None,
        before=(to_datetime(place[0]), place[1]) if place is not None else None,
        limit=asked.limit + 1,
    )
    shown, cursor = cursors.page(found, asked.limit, lambda row: (to_us(row["created_at"]), row["id"]), _KIND)
    return Keys([_about(row) for row in shown], cursor)


def one(bench: Workbench, caller: Caller, asked: OneKey) -> Key:
    """Return one key."""
    return _about(keys.one(bench.store, caller.known, asked.id))


def create(bench: Workbench, caller: Caller, told: NewKey) -> MadeKey:
    """Make a key. Raises `Denied` when it would be allowed more than what makes it, or than its user.

    One that may do nothing is a slip of who asks: `Invalid`.
    """
    if told.scopes is not None and not told.scopes:
        raise Invalid("A key that may do nothing is no use.", hint="proxy:call lets it call models.", code="scopes")
    asked: dict[str, Any] = msgspec.structs.asdict(told)
    asked["locked"] = told.locked or ()
    token, row = keys.create_key(bench.store, bench.clock, caller.known, **asked, address=caller.address)
    return MadeKey(token, _about(row))


def change(bench: Workbench, caller: Caller, told: KeyChanges) -> Key:
    """Change a key: by a key, never to more than that key has; without keys:manage, only to less than it had."""
    wanted = keys.KeyChange(**{name: getattr(told, name) for name in keys.KeyChange.__struct_fields__})
    return _about(
        keys.change(
            bench.store, bench.clock, caller.known, told.id, wanted, version=caller.version, address=caller.address
        )
    )


def rotate(bench: Workbench, caller: Caller, told: Rotation) -> RotatedKey:
    """Give a key another secret."""
    token, row, former_until = keys.rotate(
        bench.store, bench.clock, caller.known, told.id,
        overlap_hours=told.overlap_hours, version=caller.version, address=caller.address,
    )  # fmt: skip
    return RotatedKey(token, _about(row), former_until)


def revoke(bench: Workbench, caller: Caller, told: OneKey) -> Revoked:
    """End a key, and those made with it."""
    who, version = caller.known, caller.version
    keys.revoke_key(bench.store, bench.clock, who, told.id, version=version, address=caller.address)
    return Revoked(told.id)


def usage(bench: Workbench, caller: Caller, asked: Asked) -> Usage:
    """Return what a key that the caller may see was used for."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import Query  # noqa: PLC0415

    who = caller.known
    who.require("analytics:view")
    row = keys.one(bench.store, who, asked.id)
    key_id = row["rotated_from"] or row["id"]  # calls with a former secret are the key's own
    zone = asked.time_zone or bench.settings.billing.time_zone
    within = span.read(asked.start, asked.end, zone, clock=bench.clock, default=_MONTH)
    where: dict[str, tuple[str | None, ...]] = {"key": (key_id,)}
    if row["user_id"] != who.user_id and "keys:manage" not in who.permissions:
        where["team"] = who.leads  # what it was used for elsewhere, or before, is none of a lead's business
    query = Query(metrics=_METRICS, start=within.start, end=within.end, where=where, time_zone=zone)
    (told,) = numbers.aggregate(bench.lake, query, bench.compute).frame.to_dicts()
    newest = numbers.calls(
        bench.lake, max(within.end - _LONG, row["created_at"].astimezone(UTC) - _MONTH), within.end, where,
        limit=1, columns=("started_at",),
    ).frame  # fmt: skip
    return Usage(
        id=key_id,
        start=within.start,
        end=within.end,
        last_used_at=newest["started_at"][0] if newest.height else None,
        **{name: told[name] for name in _METRICS},
    )


def _about(row: dict[str, Any]) -> Key:
    told = {name: row.get(name) for name in Key.__struct_fields__}
    return msgspec.convert({**told, "tags": row.get("tags") or [], "locked": row.get("locked") or []}, Key)

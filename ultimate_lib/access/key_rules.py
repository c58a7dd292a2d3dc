"""What a key may be: the rules that making, changing and rotating have in common. Pure: no store, no clock."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from ultimate_lib.access import chain
from ultimate_lib.access import models as patterns
from ultimate_lib.access.roles import PERMISSIONS, SCOPES
from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Denied, Invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from ultimate_lib.access.keys import KeyChange
    from ultimate_lib.access.principal import Principal

GUARD_ACTIONS = ("observe", "warn", "block")
_LONGEST_NAME = 100
_LONGEST_TEXT = 256
_MOST_TAGS = 10
_MOST_DAYS = 3650
_SIGN_IN = "Sign in, or ask with a key that has keys:manage."


def name(text: str) -> str:
    """Return a key's name as it is kept."""
    text = text.strip()
    if not 0 < len(text) <= _LONGEST_NAME or not text.isprintable():
        raise Invalid(f"A key needs a name of 1 to {_LONGEST_NAME} characters.", code="key_name")
    return text


def scopes(wanted: Iterable[str], held: Collection[str], who: str) -> list[str]:
    """Return the permissions of a key, sorted. Raises `Denied` for one that `who` does not hold."""
    found = frozenset(wanted)
    unknown = found - PERMISSIONS.keys()
    if unknown:
        raise Invalid(f"There is no permission '{min(unknown)}'.", hint=f"Known: {', '.join(PERMISSIONS)}.")
    excess = found - frozenset(held)
    if excess:
        raise Denied(f"The key holds '{min(excess)}', which {who} does not have.", hint=_SIGN_IN, code="key_scopes")
    return sorted(found)


def models_of(maker: Principal, wanted: Sequence[str] | None) -> list[str] | None:
    """Return a new key's list of models: the maker's own when none is named."""
    if wanted is None:
        return list(maker.models) if maker.models is not None else None
    _check_models(wanted, maker.models)
    return patterns.checked(wanted)


def _check_models(wanted: Sequence[str] | None, allowed: Sequence[str] | None) -> None:
    excess = patterns.within(wanted, allowed)
    if excess is not None:
        raise Denied(f"A key cannot call '{excess}', which its maker may not.", code="key_models")


def guard(actor: Principal, action: str | None) -> str | None:
    """Return what is done about a key's unusual calls, as it is kept. Raises `Denied`, `Invalid`."""
    actor.require("settings:manage")
    if action is not None and action not in GUARD_ACTIONS:
        raise Invalid(
            f"'{action[:60]}' is nothing that the guard does.", hint=f"One of: {', '.join(GUARD_ACTIONS)}.",
            code="key_guard",
        )  # fmt: skip
    return action


def attribution(maker: Principal, asked: Mapping[str, Any], locked: Sequence[str]) -> dict[str, Any]:
    """Return what a new key's calls are booked on, and which of it they cannot change.

    What a key makes inherits what is not named, and everything that is locked.
    """
    found: dict[str, Any] = {}
    for field in ("team", "project", "cost_center", "app"):
        told = _text(field, asked[field])
        own = (
            getattr(maker, field) if maker.key_id is not None and (field != "team" or field in maker.locked) else None
        )
        if field in maker.locked and told not in {None, own}:
            raise _locked(field)
        found[field] = told if told is not None else own
    tags = _tags(asked["tags"] or ())
    if maker.key_id is not None:
        fixed = {tag.partition("=")[0]: tag for tag in maker.tags} if "tags" in maker.locked else {}
        if any(fixed.get(tag.partition("=")[0], tag) != tag for tag in tags):
            raise _locked("tags")
        tags = _tags(chain.merged_tags(tags, maker.tags))
    return {**found, "tags": tags or None, "locked": _locks((*locked, *maker.locked)) or None}


def expiry(maker: Principal, now: datetime, days: int | None) -> datetime | None:
    """Return when a new key ends: never later than the key that makes it."""
    if days is not None and not 1 <= days <= _MOST_DAYS:
        raise Invalid(f"A key lives 1 to {_MOST_DAYS} days.", code="key_expiry")
    asked = now + timedelta(days=days) if days is not None else None
    last = to_datetime(maker.expires_at_us) if maker.expires_at_us is not None else None
    return min((at for at in (asked, last) if at is not None), default=None)


def check_team(team: str | None, teams: Collection[str]) -> None:
    """Raise `Invalid` for a team that the key's user is no member of."""
    if team is not None and team not in teams:
        known = f"Its teams: {', '.join(teams)}." if teams else "It has no team yet."
        raise Invalid(f"The key's user is no member of the team '{team[:60]}'.", hint=known, code="key_team")


def check_view(actor: Principal, view: str) -> None:
    """Raise `Denied` when a key that somebody gets hold of sees more calls than oneself."""
    if SCOPES.index(view) > SCOPES.index(actor.view):
        raise Denied(
            f"The key would show {view} calls, and who asks sees only {actor.view}.",
            hint="Ask an administrator who sees as much.",
            code="key_view",
        )


def check_reach(actor: Principal, row: Mapping[str, Any], above: Sequence[chain.Link]) -> None:
    """Raise `Denied` when the secret of a key would give who asks more than it has.

    A key gets that of itself and of what was made with it; with `keys:manage` that of another key, too, if that lives
    no longer and reaches no further.
    """
    found = chain.principal(above) if above else None
    if found is None:
        raise Denied(f"'{row['name']}' has ended, or its user is deactivated.", code="key_reach")
    check_view(actor, found.view)
    if actor.key_id is None or actor.key_id in {link.row["id"] for link in above}:
        return
    if "keys:manage" not in actor.permissions:
        raise Denied(f"'{row['name']}' was not made with the key that asks.", hint=_SIGN_IN, code="key_reach")
    _check_models(found.models, actor.models)
    last = actor.expires_at_us
    longer = last is not None and (found.expires_at_us is None or found.expires_at_us > last)
    loose = next((field for field in sorted(actor.locked) if not _fixed_alike(actor, found, field)), None)
    if longer or loose is not None:
        more = "lives longer than" if longer else f"has not the {loose} that is locked by"
        raise Denied(f"'{row['name']}' {more} the key that asks.", hint="Sign in.", code="key_reach")


def _fixed_alike(actor: Principal, found: Principal, field: str) -> bool:
    return field in found.locked and getattr(found, field) == getattr(actor, field)


def changed(actor: Principal, row: Mapping[str, Any], told: KeyChange, teams: Collection[str]) -> dict[str, Any]:
    """Return the columns of a key that become different. Raises `Invalid` and `Denied`.

    A key gives no key, itself among them, more than it has; without `keys:manage` it takes only away.
    """
    wide = actor.key_id is None or "keys:manage" in actor.permissions
    values = {**_limits(actor, row, told, wide=wide), **_booked(told)}
    if told.guard is not UNSET and told.guard != row["guard"]:
        values["guard"] = guard(actor, told.guard)
    different = {field: value for field, value in values.items() if value != row[field]}
    held = set(row["locked"] or ())
    fixed = actor.locked if wide else actor.locked | held
    if not held & fixed <= set(values.get("locked", held) or ()):
        raise Denied("A key cannot take a lock away that holds for itself.", hint=_SIGN_IN, code="key_locked")
    for field in chain.LOCKABLE:
        if field in different and field in fixed:
            raise _locked(field)
    if "team" in different:
        check_team(different["team"], teams)
    return different


def _limits(actor: Principal, row: Mapping[str, Any], told: KeyChange, *, wide: bool) -> dict[str, Any]:
    """Return what is asked of a key's name, models and end."""
    values: dict[str, Any] = {}
    if told.name is not UNSET:
        values["name"] = name(told.name)
    if told.models is not UNSET:
        values["models"] = patterns.checked(told.models)
        both = patterns.join if wide else patterns.meet
        _check_models(told.models, both(row["models"], actor.models))
    if told.expires_at is not UNSET:
        values["expires_at"] = _expires(actor, row["expires_at"], told.expires_at, wide=wide)
    return values


def _booked(told: KeyChange) -> dict[str, Any]:
    """Return what is asked of where a key's calls are booked."""
    asked = {field: getattr(told, field) for field in ("team", "project", "cost_center", "app")}
    values: dict[str, Any] = {field: _text(field, value) for field, value in asked.items() if value is not UNSET}
    if told.tags is not UNSET:
        values["tags"] = _tags(told.tags) or None
    if told.locked is not UNSET:
        values["locked"] = _locks(told.locked) or None
    return values


def _expires(actor: Principal, now_at: datetime | None, wanted: datetime | None, *, wide: bool) -> datetime | None:
    if wanted is not None and wanted.tzinfo is None:
        raise Invalid("The end of a key needs its time zone.", hint="Write 2026-12-31T00:00:00Z.", code="key_expiry")
    try:
        wanted = None if wanted is None else wanted.astimezone(UTC)
    except OverflowError as error:
        raise Invalid(
            f"A key cannot end at {wanted}.", hint="Write an instant such as 2026-12-31T00:00:00Z.", code="key_expiry"
        ) from error
    last = to_datetime(actor.expires_at_us) if actor.expires_at_us is not None else None
    later = now_at is not None and (wanted is None or wanted > now_at)
    beyond = last is not None and (wanted is None or wanted > last)
    if later and (not wide or beyond):
        raise Denied("A key cannot let a key live longer than itself.", hint="Sign in.", code="key_expiry")
    return wanted


def _locks(wanted: Iterable[str]) -> list[str]:
    found = set(wanted)
    unknown = found - set(chain.LOCKABLE)
    if unknown:
        raise Invalid(
            f"'{min(unknown)[:60]}' cannot be locked.", hint=f"Known: {', '.join(chain.LOCKABLE)}.", code="key_lock"
        )
    return sorted(found)


def _locked(field: str) -> Denied:
    return Denied(f"The {field.replace('_', ' ')} is locked by the key that asks.", hint=_SIGN_IN, code="key_locked")


def _text(field: str, value: str | None) -> str | None:
    if value is None:
        return None
    value = value.strip()
    if not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise Invalid(f"A key's {field.replace('_', ' ')} has 1 to {_LONGEST_TEXT} characters.", code="key_text")
    return value


def _tags(told: Sequence[str]) -> list[str]:
    found: dict[str, str] = {}
    for text in told:
        key, equals, value = (part.strip() for part in text.partition("="))
        tag = f"{key}={value}"
        if not (key and equals and value) or len(tag) > _LONGEST_TEXT or not tag.isprintable() or "," in tag:
            raise Invalid(f"'{text[:60]}' is no tag.", hint="Write name=value, without commas.", code="key_tags")
        if found.setdefault(key, tag) != tag:
            raise Invalid(f"The tag '{key[:60]}' is given twice.", code="key_tags")
    if len(found) > _MOST_TAGS:
        raise Invalid(f"A key has at most {_MOST_TAGS} tags.", code="key_tags")
    return list(found.values())

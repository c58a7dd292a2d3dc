"""Cool-downs of the guard: those that are under way, how somebody ends one, or accepts what led to it as usual."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access.changes import audited
from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.errors import Invalid, NotFound, Unavailable
from ultimate_lib.guard import events, known
from ultimate_lib.guard.events import Accepted, Event, EventLog, Fold
from ultimate_lib.guard.rule import Rule, cooling
from ultimate_lib.store import audit

if TYPE_CHECKING:
    from datetime import datetime

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store


DAYS = 30
"""How far back is learnt from, at least."""
_SINCE_DAYS = 7
_DAY_US = 86_400_000_000


class Cooling(NamedTuple):
    """A cool-down that is under way; dollars are of the call that began it, null where the log does not tell."""

    id: str
    key_id: str
    model: str
    since_us: int
    until_us: int
    cost_usd: float | None
    usual_usd: float | None


def current(settings: Settings, now_us: int) -> list[Cooling]:
    """Return the cool-downs that are under way, the newest first. Raises `Unavailable`."""
    if not settings.guard.enabled:
        return []
    rule = Rule.of(settings.guard)
    folds: dict[tuple[str, str], Fold] = {}
    for one in _told(settings):
        pair = (one.key_id, one.model)
        folds[pair] = events.fold(rule, folds.get(pair, Fold()), one)
    found = [
        Cooling(
            id_of(*pair), *pair, fold.standing.since_us, fold.standing.until_us,
            fold.last.cost_usd if fold.last is not None else None,
            fold.last.usual_usd if fold.last is not None else None,
        )
        for pair, fold in folds.items()
        if cooling(fold.standing, now_us)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.since_us, reverse=True)


def accepted(settings: Settings, now_us: int) -> dict[tuple[str, str], Accepted]:
    """Return what was accepted as usual and still matters, by key and model. Raises `Unavailable`."""
    oldest_us = now_us - _days(settings) * _DAY_US
    return {pair: one for pair, one in events.accepted(_told(settings)).items() if one.at_us >= oldest_us}


def _told(settings: Settings) -> list[Event]:
    try:
        return EventLog(settings.run_dir).read()[1]
    except OSError as error:
        raise Unavailable(
            f"The guard's log cannot be read ({error.strerror}).", hint="Look at the run folder's disk.", code="guard"
        ) from error


def _days(settings: Settings) -> int:
    return max(DAYS, settings.guard.after_days + 1)


def id_of(key_id: str, model: str) -> str:
    """Return what a cool-down of a key and model is called in a path: models have slashes in their names."""
    return f"cool_{hashlib.blake2b(f'{key_id} {model}'.encode(), digest_size=8).hexdigest()}"


def end(
    store: Store, clock: Clock, settings: Settings, actor: Principal, cooldown_id: str, *, address: str = ""
) -> Cooling:
    """End a cool-down, and forget the calls that led to it; gateways go by it within seconds.

    Raises `Denied` without `settings:manage`, `NotFound`, `Unavailable`.
    """
    actor.require("settings:manage")
    now_us = clock.now_us()
    found = next((one for one in current(settings, now_us) if one.id == cooldown_id), None)
    if found is None:
        raise NotFound(
            f"There is no cool-down '{cooldown_id[:60]}' under way.", hint="It may be over.", code="cooldown_unknown"
        )
    event = Event(key_id=found.key_id, model=found.model, at_us=now_us, by=actor.user_name)
    _write(store, clock, settings, event, "guard.end", {"model": found.model}, address)
    return found


def accept(  # noqa: PLR0917 - who, what, since when
    store: Store,
    clock: Clock,
    settings: Settings,
    actor: Principal,
    key_id: str,
    model: str,
    since: datetime | None = None,
    *,
    address: str = "",
) -> Accepted:
    """Accept a key's calls of a model since an instant as usual; a cool-down of theirs ends.

    Default: of the last seven days. The last acceptance holds, so one from now on takes the one before it back.
    Raises `Denied` without `settings:manage`, `Invalid`, `NotFound`, `Unavailable`, `Corrupt`.
    """
    actor.require("settings:manage")
    now_us = clock.now_us()
    since_us = to_us(since) if since is not None else now_us - _SINCE_DAYS * _DAY_US
    if not now_us - _days(settings) * _DAY_US <= since_us <= now_us:
        raise Invalid(
            "'since' is no instant that can be learnt from.",
            hint=f"Name one within the last {_days(settings)} days, or leave it out: seven days.",
            code="since",
        )
    if not settings.guard.enabled:
        raise Invalid("The guard is off.", hint="Set enabled = true under [guard].", code="guard_off")
    learnt = known.read(settings.run_dir)
    if (learnt is None or (key_id, model) not in learnt.known) and not any(
        (one.key_id, one.model) == (key_id, model) for one in _told(settings)
    ):
        raise NotFound(
            f"The guard knows no calls of key '{key_id[:60]}' to '{model[:60]}'.",
            hint="GET /api/predictive/guard lists what it knows, by key id and model as routed.",
            code="guard_unknown",
        )
    event = Event(key_id=key_id, model=model, at_us=now_us, by=actor.user_name, since_us=since_us)
    after = {"model": model, "since": to_datetime(since_us).isoformat()}
    _write(store, clock, settings, event, "guard.accept", after, address)
    return Accepted(since_us, now_us, actor.user_name)


def _write(  # noqa: PLR0917 - what is written, and where
    store: Store, clock: Clock, settings: Settings, event: Event, action: str, after: dict[str, str], address: str
) -> None:
    with store.begin() as connection:
        audit.append(connection, audited(clock.now(), event.by, action, event.key_id, address, after))
        try:
            EventLog(settings.run_dir).append(event)  # in the transaction: what fails leaves no row of the audit
        except OSError as error:
            raise Unavailable(
                f"The guard's log cannot be written ({error.strerror}).", hint="Try again in a moment.", code="guard"
            ) from error

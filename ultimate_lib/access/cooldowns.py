"""Cool-downs of the guard: those that are under way, and how somebody ends one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access.changes import audited
from ultimate_lib.errors import NotFound, Unavailable
from ultimate_lib.guard import events
from ultimate_lib.guard.events import Event, EventLog, Fold
from ultimate_lib.guard.rule import Rule, cooling
from ultimate_lib.store import audit

if TYPE_CHECKING:
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store


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
    try:
        _, told = EventLog(settings.run_dir).read()
    except OSError as error:
        raise Unavailable(
            f"The guard's log cannot be read ({error.strerror}).", hint="Look at the run folder's disk.", code="guard"
        ) from error
    for one in told:
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
    with store.begin() as connection:
        after = {"model": found.model}
        audit.append(connection, audited(clock.now(), actor.user_name, "guard.end", found.key_id, address, after))
        try:
            EventLog(settings.run_dir).append(event)  # in the transaction: what fails leaves no row of the audit
        except OSError as error:
            raise Unavailable(
                f"The guard's log cannot be written ({error.strerror}).", hint="Try again in a moment.", code="guard"
            ) from error
    return found

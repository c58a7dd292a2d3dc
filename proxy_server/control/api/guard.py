"""The guard: what it knows of each key and model, what it did and would have done, and what each key asks of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from proxy_server.control.api.analytics import where
from ultimate_lib.access import cooldowns, keys
from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Corrupt
from ultimate_lib.guard import known
from ultimate_lib.guard.rule import Rule, ripe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from proxy_server.control.answers import Caller
    from ultimate_lib.guard.events import Accepted
    from ultimate_lib.guard.known import Baselines, Known
    from ultimate_lib.lake.guarded import Past
    from ultimate_lib.workbench import Workbench

Action = Literal["observe", "warn", "block"]

_DAY_US = 86_400_000_000
_MOST_KEYS = 10_000


class AskedGuard(Struct, kw_only=True):
    """What of it."""

    key: Annotated[str, Meta(description="Id of a key; default: all that one may see.")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many keys × models are told.")] = 200  # noqa: RUF001 - as everywhere


class GuardRule(Struct, kw_only=True):
    """The settings. A cap that is null does not exist."""

    enabled: bool
    action: Action  # for keys that name none
    after_days: int
    after_calls: int
    anomalies: int
    window_minutes: float
    cooldown_minutes: float
    floor_usd: float
    block_spend_rate: bool  # false: a key that spends too quickly is told of, never refused
    max_input_tokens: int | None
    max_call_usd: float | None
    max_usd_per_minute: float | None
    max_usd_per_hour: float | None
    max_usd_per_day: float | None


class CooldownTold(Struct, kw_only=True):
    """A cool-down that is under way. What it means for calls, the key's action says."""

    id: str
    key_id: str
    model: str
    since: datetime
    until: datetime
    cost_usd: float | None  # of the call that began it
    usual_usd: float | None  # the most that was usual


class AcceptedTold(Struct, kw_only=True):
    """Calls that were anomalous, and that somebody has accepted as usual."""

    key_id: str
    model: str
    since: datetime  # of those that began then or later
    at: datetime  # and no later than this, when they were accepted
    by: str
    learnt: bool  # whether the worker has learnt from them
    alone: bool  # what is usual is learnt from calls since then alone; false: too few, so from all


class GuardedPair(Struct, kw_only=True):
    """A key and model. Null is unknown. Counts are of the last 30 days, for which the rule was replayed."""

    key_id: str
    model: str
    calls: int | None  # learnt from; null: too few to be told of
    first_call_at: datetime | None
    days: int | None  # whole days since then
    ripe: bool  # known well enough to be blocked
    usual_usd: float | None  # from which on a call's cost is anomalous
    usual_tokens: float | None  # and its input
    anomalies_7d: int
    anomalies_30d: int
    blocked: int  # calls that were refused
    would_have_blocked: int  # calls that began in a cool-down by the present rule, and were let through
    would_have_blocked_usd: float | None  # what those cost; null: of none is it known
    would_have_blocked_unpriced: int  # those of them whose cost is not known
    would_have_cooled_down: int  # cool-downs
    marked: int  # calls let through that were marked, at the time and for whatever reason, as to be refused
    marked_outside: int  # of those, outside the cool-downs that the replay comes to: for their input, mostly
    marked_rate: int  # calls marked for nothing but how quickly their key spent
    cooldown: CooldownTold | None
    accepted: AcceptedTold | None  # the last time that anomalous calls were, within the days that are learnt from


class GuardedKey(Struct, kw_only=True):
    """A live key, and what is done about its unusual calls."""

    id: str
    name: str
    user_name: str | None
    action: Action | None  # its own; null: as the key above it, else the settings, say
    in_force: Action


class GuardTold(Struct, kw_only=True):
    """The guard. `learnt_at` is null until the worker has looked for the first time."""

    rule: GuardRule
    learnt_at: datetime | None
    behind: bool  # calls have come into the lake since then that are not learnt from yet
    failure: str | None  # why what is usual cannot be told
    keys: list[GuardedKey]
    pairs: list[GuardedPair]  # cool-downs first, then those with most that would have been blocked
    found: int  # of which `pairs` are the first


class ActionOf(Struct, kw_only=True):
    """What shall be done about a key's unusual calls."""

    id: str
    action: Action | None = None  # null: as the settings say


class AskedAccept(Struct, kw_only=True):
    """Which calls are usual from now on."""

    id: Annotated[str, Meta(max_length=200)]  # of the key
    model: Annotated[str, Meta(min_length=1, max_length=200, description="As the guard tells it.")]
    since: Annotated[datetime, Meta(tz=True)] | None = None  # null: of the last seven days


class OneCooldown(Struct):
    """Which cool-down."""

    id: str


def guard(bench: Workbench, caller: Caller, asked: AskedGuard) -> GuardTold:
    """Return all that the caller may see of the guard. Raises `Unavailable`."""
    from ultimate_lib.lake import guarded  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.changes import changed  # noqa: PLC0415

    told, now_us = bench.settings.guard, bench.clock.now_us()
    failure, learnt = None, None
    try:
        learnt = known.read(bench.settings.run_dir)
    except (Corrupt, OSError) as error:
        failure = str(error)
    shown = {row["id"]: row for row in _keys(bench, caller) if not asked.key or row["id"] == asked.key}
    cooling = {(one.key_id, one.model): one for one in cooldowns.current(bench.settings, now_us)}
    usual = learnt.known if learnt is not None else {}
    accepted = cooldowns.accepted(bench.settings, now_us)
    past = guarded.past(
        bench.lake,
        Rule.of(told),
        {pair: one.ripe_us for pair, one in usual.items()},
        bench.clock.now(),
        where(caller, [f"key:{asked.key}"] if asked.key else ()),
        accepted=accepted,
    )
    seen = {*shown, *_made_up(bench, caller, asked.key)}
    wanted = {pair for pair in (*usual, *past, *cooling) if pair[0] in seen}
    pairs = [
        _pair(
            pair, usual.get(pair), past.get(pair, guarded.Past()), cooling.get(pair), accepted.get(pair), now_us
        )
        for pair in wanted
    ]  # fmt: skip
    pairs.sort(
        key=lambda one: (
            one.cooldown is None, -one.would_have_blocked, -one.blocked, -one.anomalies_30d, one.key_id, one.model
        )
    )  # fmt: skip
    return GuardTold(
        rule=_rule(bench),
        learnt_at=_at(learnt),
        behind=learnt is not None and changed(bench.lake, learnt.about.version) != [],
        failure=failure,
        keys=[_key(bench, row, shown) for row in shown.values()],
        pairs=pairs[: asked.limit],
        found=len(pairs),
    )


def set_action(bench: Workbench, caller: Caller, told: ActionOf) -> GuardedKey:
    """Say what is done about a key's unusual calls; gateways go by it within seconds."""
    row = keys.set_guard(bench.store, bench.clock, caller.known, told.id, told.action, address=caller.address)
    return _key(bench, row, {})


def end_cooldown(bench: Workbench, caller: Caller, told: OneCooldown) -> CooldownTold:
    """End a cool-down."""
    return _cooldown(
        cooldowns.end(bench.store, bench.clock, bench.settings, caller.known, told.id, address=caller.address)
    )


def accept(bench: Workbench, caller: Caller, told: AskedAccept) -> AcceptedTold:
    """Accept a key's anomalous calls of a model as usual; the worker learns from them within a minute or two."""
    made = cooldowns.accept(
        bench.store, bench.clock, bench.settings, caller.known, told.id, told.model, told.since,
        address=caller.address,
    )  # fmt: skip
    return _accepted((told.id, told.model), made, None)


def _keys(bench: Workbench, caller: Caller) -> list[dict[str, Any]]:
    """Return the live keys that the caller may see: those of whose calls it does."""
    who, now = caller.known, bench.clock.now()
    if who.sees_all or "settings:manage" in who.permissions:
        return keys.list_keys(bench.store, live_at=now, limit=_MOST_KEYS)
    own = keys.list_keys(bench.store, who.user_id, top=keys.sees_below(who), live_at=now, limit=_MOST_KEYS)
    for team in who.leads:
        own += keys.list_keys(bench.store, team=team, live_at=now, limit=_MOST_KEYS)
    return own


def _made_up(bench: Workbench, caller: Caller, asked: str) -> set[str]:
    """Return the keys of the demo's made-up calls, for who sees all calls: the store has no rows of them."""
    if not bench.settings.data.demo or not caller.known.sees_all:
        return set()
    from ultimate_lib.demo.cast import KEYS  # noqa: PLC0415 - no other installation has them

    return {key for key in KEYS if asked in {"", key}}


def _key(bench: Workbench, row: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> GuardedKey:
    action, above = row["guard"], row
    while action is None and above["parent_id"] in others:
        above = others[above["parent_id"]]
        action = above["guard"]
    return GuardedKey(
        id=row["id"],
        name=row["name"],
        user_name=row.get("user_name"),
        action=row["guard"],
        in_force=action or bench.settings.guard.action,
    )


def _pair(  # noqa: PLR0917 - all that is known
    pair: tuple[str, str],
    usual: Known | None,
    past: Past,
    cooling: cooldowns.Cooling | None,
    accepted: Accepted | None,
    now_us: int,
) -> GuardedPair:
    known_cost = past.would_block > past.would_block_unpriced or not past.would_block
    return GuardedPair(
        key_id=pair[0],
        model=pair[1],
        calls=usual.calls if usual is not None else None,
        first_call_at=to_datetime(usual.first_us) if usual is not None else None,
        days=(now_us - usual.first_us) // _DAY_US if usual is not None else None,
        ripe=usual is not None and ripe(usual.ripe_us, now_us),
        usual_usd=usual.usual_usd if usual is not None else None,
        usual_tokens=usual.usual_tokens if usual is not None else None,
        anomalies_7d=past.anomalies_week,
        anomalies_30d=past.anomalies,
        blocked=past.blocked,
        would_have_blocked=past.would_block,
        would_have_blocked_usd=past.would_block_nano_usd / 1e9 if known_cost else None,
        would_have_blocked_unpriced=past.would_block_unpriced,
        would_have_cooled_down=past.cooldowns,
        marked=past.marked,
        marked_outside=past.marked_outside,
        marked_rate=past.marked_rate,
        cooldown=_cooldown(cooling) if cooling is not None else None,
        accepted=_accepted(pair, accepted, usual) if accepted is not None else None,
    )


def _accepted(pair: tuple[str, str], one: Accepted, usual: Known | None) -> AcceptedTold:
    learnt = usual is not None and usual.accepted_us == one.at_us
    return AcceptedTold(
        key_id=pair[0],
        model=pair[1],
        since=to_datetime(one.since_us),
        at=to_datetime(one.at_us),
        by=one.by,
        learnt=learnt,
        alone=learnt and usual is not None and usual.since_us is not None,
    )


def _cooldown(one: cooldowns.Cooling) -> CooldownTold:
    return CooldownTold(
        id=one.id,
        key_id=one.key_id,
        model=one.model,
        since=to_datetime(one.since_us),
        until=to_datetime(one.until_us),
        cost_usd=one.cost_usd,
        usual_usd=one.usual_usd,
    )


def _rule(bench: Workbench) -> GuardRule:
    told = bench.settings.guard
    return GuardRule(
        enabled=told.enabled,
        action=told.action,
        after_days=told.after_days,
        after_calls=told.after_calls,
        anomalies=told.anomalies,
        window_minutes=told.window_minutes,
        cooldown_minutes=told.cooldown_minutes,
        floor_usd=told.floor_usd,
        block_spend_rate=told.block_spend_rate,
        max_input_tokens=told.max_input_tokens or None,
        max_call_usd=told.max_call_usd or None,
        max_usd_per_minute=told.max_usd_per_minute or None,
        max_usd_per_hour=told.max_usd_per_hour or None,
        max_usd_per_day=told.max_usd_per_day or None,
    )


def _at(learnt: Baselines | None) -> datetime | None:
    return to_datetime(learnt.about.made_us) if learnt is not None else None

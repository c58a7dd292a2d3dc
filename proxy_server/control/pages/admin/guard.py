"""The guard: what is usual of each key and model, what it did and would have done, and what each key asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from proxy_server.control.api import guard as api
from proxy_server.control.api import span
from proxy_server.control.pages import admin, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller, Page
    from ultimate_lib.workbench import Workbench

_MOST_PAIRS = 1000
_DOES = {
    "observe": "marks them, nothing more",
    "warn": "tells the client in a header of its answer",
    "block": "refuses them with a 429",
}


class Asked(Struct, kw_only=True):
    """Which keys and models are looked for."""

    q: str = ""


class Row(NamedTuple):
    """A key and model, ready to be shown."""

    key: str
    about: str  # the key, if anything must be said of it
    model: str
    state: str
    mood: str
    learnt: str
    usual: str
    week: str
    month: str
    blocked: str
    would: str
    door: str  # calls that were marked outside of cool-downs; empty: none were
    accepted: str  # who has accepted what as usual, and since when; empty: nobody
    accepts: str  # id of the key whose calls can be accepted; empty: there is nothing to accept
    question: str


class Cooling(NamedTuple):
    """A cool-down that is under way."""

    id: str
    key: str
    model: str
    since: str
    until: str
    why: str
    does: str


class KeyRow(NamedTuple):
    """A key, what is done about its unusual calls, and what it may be changed to."""

    id: str
    name: str
    user: str
    in_force: str
    own: str | None
    choices: list[tuple[str, str]]  # action, empty for none; label
    question: str  # that is asked before blocking


def guard(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the page."""
    may_change = "settings:manage" in caller.known.permissions
    zone = span.zone_of(bench.settings.billing.time_zone)
    told = api.guard(bench, caller, api.AskedGuard(limit=_MOST_PAIRS))
    named = {one.id: one for one in told.keys}
    rows, found = admin.matching((_row(one, named, told.rule, zone) for one in told.pairs), asked.q, _text)
    keys, keys_found = admin.matching(_keys(told), asked.q, lambda row: f"{row.name} {row.user}")
    values: dict[str, Any] = {
        "q": asked.q,
        "rule": told.rule,
        "does": _DOES,
        "caps": _caps(told.rule),
        "learnt": shown.minute(told.learnt_at, zone) if told.learnt_at is not None else "",
        "behind": told.behind,
        "failure": told.failure,
        "cooling": [_cooling(one, named, zone) for one in told.pairs if one.cooldown and one.key_id in named],
        "rows": rows,
        "found": found,
        "keys": keys,
        "keys_found": keys_found,
        "may_change": may_change,
        "zone": zone.key,
    }
    return admin.page(caller, "guard", "Guard", values)


def _row(one: api.GuardedPair, named: Mapping[str, api.GuardedKey], rule: api.GuardRule, zone: ZoneInfo) -> Row:
    if one.cooldown is not None:
        state, mood = "cool-down", "bad"
    elif one.ripe:
        state, mood = "known well enough", "ok"
    elif one.days is None:
        state, mood = "too few calls", "off"
    elif not one.calls:
        state, mood = "no call of a known price", "off"
    else:
        state, mood = (
            f"observing: {_of(one.days, rule.after_days)} days, {_of(one.calls, rule.after_calls)} calls",
            "off",
        )
    name = named[one.key_id].name if one.key_id in named else one.key_id
    unusual = one.anomalies_30d or one.marked or one.marked_rate or one.cooldown is not None
    may = one.key_id in named and unusual
    return Row(
        key=name,
        about="" if one.key_id in named else "made up (demo)",
        model=one.model,
        state=state,
        mood=mood,
        learnt=f"{_many(one.calls, 'call')}, {_many(one.days, 'day')}" if one.calls else "",
        usual=shown.usd(one.usual_usd),
        week=shown.count(one.anomalies_7d),
        month=shown.count(one.anomalies_30d),
        blocked=shown.count(one.blocked),
        would=_would(one.would_have_blocked, one.would_have_blocked_usd, one.would_have_blocked_unpriced),
        door=_door(one),
        accepted=_accepted(one.accepted, zone),
        accepts=one.key_id if may else "",
        question=(
            f"Accept the unusual calls of '{name}' to {one.model} of the last 7 days as usual? A cool-down ends, and "
            "calls like them are not marked or refused once the worker has learnt from them, in a minute or two. "
            "What costs far more than they did is unusual again."
        ),
    )


def _door(one: api.GuardedPair) -> str:
    told = [f"at the door: {shown.count(one.marked_outside)} marked"] if one.marked_outside else []
    if one.marked_rate:
        told.append(f"for spend: {shown.count(one.marked_rate)} told of")
    return ", ".join(told)


def _accepted(one: api.AcceptedTold | None, zone: ZoneInfo) -> str:
    if one is None:
        return ""
    since, at = shown.minute(one.since, zone), shown.minute(one.at, zone)
    told = f"calls since {since} accepted as usual by {one.by}, {at}"
    if not one.learnt:
        return f"{told}; not learnt from yet"
    return f"{told}; learnt from those alone" if one.alone else told


def _many(value: int | None, what: str) -> str:
    return f"{shown.count(value)} {what}{'s' if value != 1 else ''}"


def _of(value: int | None, wanted: int) -> str:
    return f"{min(value or 0, wanted):,} of {wanted:,}"


def _would(calls: int, usd: float | None, unpriced: int) -> str:
    if not calls:
        return "none"
    cost = f" ({shown.usd(usd)})" if usd is not None else ""
    more = f", {shown.count(unpriced)} of unknown cost" if unpriced else ""
    return f"{_many(calls, 'call')}{cost}{more}"


def _cooling(one: api.GuardedPair, named: Mapping[str, api.GuardedKey], zone: ZoneInfo) -> Cooling:
    cooldown = one.cooldown
    assert cooldown is not None  # noqa: S101 - asked before
    key = named[one.key_id]  # nobody can call with one that has no row
    why = ""
    if cooldown.cost_usd is not None:
        why = f"a call cost {shown.usd(cooldown.cost_usd)}, usual is at most {shown.usd(cooldown.usual_usd)}"
    does = {"block": "calls are refused", "warn": "clients are told", "observe": "calls are only marked"}
    return Cooling(
        cooldown.id, key.name, one.model, shown.minute(cooldown.since, zone), shown.minute(cooldown.until, zone),
        why, does[key.in_force],
    )  # fmt: skip


def _keys(told: api.GuardTold) -> Iterable[KeyRow]:
    """Return the keys, first those with an action of their own, then those that have called."""
    called = {one.key_id for one in told.pairs}
    order = sorted(told.keys, key=lambda key: (key.action is None, key.id not in called, key.name))
    for key in order:
        pairs = [one for one in told.pairs if one.key_id == key.id]
        choices = [(action, action.title()) for action in ("observe", "warn", "block") if action != key.action]
        if key.action is not None:
            choices.append(("", "As the settings say"))
        yield KeyRow(
            key.id, key.name, key.user_name or "", key.in_force, key.action, choices, _question(key, pairs, told.rule)
        )


def _question(key: api.GuardedKey, pairs: list[api.GuardedPair], rule: api.GuardRule) -> str:
    calls = sum(one.would_have_blocked for one in pairs)
    costs = [one.would_have_blocked_usd for one in pairs if one.would_have_blocked_usd is not None]
    unpriced = sum(one.would_have_blocked_unpriced for one in pairs)
    ripe = [one.model for one in pairs if one.ripe]
    would = _would(calls, sum(costs) if costs else None, unpriced)
    had = (
        f"In the last 30 days its cool-downs would have refused {would} of '{key.name}' with a 429."
        if ripe
        else f"No model of '{key.name}' is known well enough yet: nothing is refused until then."
    )
    outside = sum(one.marked_outside for one in pairs)
    if outside:
        were = "were" if outside != 1 else "was"
        had += f" Apart from those, {_many(outside, 'call')} {were} marked at the door, mostly for the input."
    cooling = any(one.cooldown is not None for one in pairs)
    now = " A cool-down is under way: calls are refused from now on." if cooling else ""
    return (
        f"Block unusual calls of '{key.name}'? {had}{now} {rule.anomalies} calls that cost far more than usual "
        f"within {rule.window_minutes:g} minutes refuse all of that model for {rule.cooldown_minutes:g} minutes."
    )


def _caps(rule: api.GuardRule) -> list[str]:
    """Return the caps in words."""
    told = [
        (rule.max_call_usd, "a call may cost at most {}"),
        (rule.max_usd_per_minute, "a key spends at most {} a minute"),
        (rule.max_usd_per_hour, "a key spends at most {} an hour"),
        (rule.max_usd_per_day, "a key spends at most {} in 24 hours"),
    ]
    found = [text.format(shown.usd(most)) for most, text in told if most is not None]
    if rule.max_input_tokens is not None:
        found.insert(0, f"a call's input is at most {shown.count(rule.max_input_tokens)} tokens")
    return found


def _text(row: Row) -> str:
    return f"{row.key} {row.about} {row.model} {row.state}"

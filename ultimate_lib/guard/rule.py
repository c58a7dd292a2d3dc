"""The guard's rule: so many anomalous calls of a key and model within a window begin a cool-down.

    standing = after(rule, standing, Anomaly(call_id, started_us, ended_us))
    cooling(standing, now_us)  # then the next call is refused, warned of, or marked, as its key's action says

Pure, and the same whether calls end now or are read again from the lake (`cooldowns`). What the key's action is makes
no difference here: a cool-down is a fact about calls, the action is what is done about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.baseline import ANOMALOUS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ultimate_lib.settings import Guard

_MINUTE_US = 60_000_000
_DAY_US = 86_400_000_000


class Rule(NamedTuple):
    """What begins a cool-down, and how long it lasts."""

    anomalies: int = 3
    window_us: int = 60 * _MINUTE_US
    cooldown_us: int = 30 * _MINUTE_US
    floor_nano_usd: int = 50_000_000
    after_days: int = 14
    after_calls: int = 500

    @classmethod
    def of(cls, told: Guard) -> Rule:
        """Return the rule that the settings tell."""
        return cls(
            anomalies=told.anomalies,
            window_us=round(told.window_minutes * _MINUTE_US),
            cooldown_us=round(told.cooldown_minutes * _MINUTE_US),
            floor_nano_usd=round(told.floor_usd * 1e9),
            after_days=told.after_days,
            after_calls=told.after_calls,
        )


class Anomaly(NamedTuple):
    """A call that counts: anomalous, above the floor, and of a key and model that are known well enough."""

    call_id: str
    started_us: int
    ended_us: int


class Standing(NamedTuple):
    """How a key and model stand: the anomalous calls that count, and the last cool-down."""

    counted: tuple[Anomaly, ...] = ()
    since_us: int = 0
    until_us: int = 0


class Call(NamedTuple):
    """What of a recorded call the rule looks at; null is unknown."""

    call_id: str
    started_us: int
    ended_us: int
    cost_nano_usd: int | None
    score: float | None


class Cooldown(NamedTuple):
    """From when to when calls are, or would have been, refused."""

    since_us: int
    until_us: int


NEW = Standing()


def ripe_at(rule: Rule, first_us: int, enough_us: int | None) -> int | None:
    """Return from when on a key and model can be blocked; None: not yet, for they have too few calls.

    `enough_us` is when the last of the calls was that the rule asks for.
    """
    return None if enough_us is None else max(first_us + rule.after_days * _DAY_US, enough_us)


def ripe(ripe_us: int | None, at_us: int) -> bool:
    """Return whether a key and model are known well enough to be blocked at an instant."""
    return ripe_us is not None and at_us >= ripe_us


def counts(rule: Rule, call: Call, ripe_us: int | None) -> bool:
    """Return whether a call that has ended counts towards a cool-down. What is unknown does not."""
    return (
        call.score is not None
        and call.score >= ANOMALOUS
        and call.cost_nano_usd is not None
        and call.cost_nano_usd > rule.floor_nano_usd
        and ripe(ripe_us, call.ended_us)
    )


def cooling(standing: Standing, at_us: int) -> bool:
    """Return whether a key and model are in a cool-down at an instant."""
    return standing.since_us <= at_us < standing.until_us


def after(rule: Rule, standing: Standing, anomaly: Anomaly) -> Standing:
    """Return how a key and model stand after an anomalous call that counts has ended.

    A call that ends in a cool-down, or began in one, adds nothing to it. The same anomaly twice counts once, also
    when the cool-down that it began is over.
    """
    if anomaly.ended_us < standing.until_us or cooling(standing, anomaly.started_us):
        return standing
    if any(one.call_id == anomaly.call_id for one in standing.counted):
        return standing
    counted = sorted((*standing.counted, anomaly), key=lambda one: one.ended_us)
    last_us = counted[-1].ended_us
    counted = [one for one in counted if one.ended_us >= last_us - rule.window_us]
    if len(counted) < rule.anomalies:
        return standing._replace(counted=tuple(counted))
    return Standing((), last_us, last_us + rule.cooldown_us)


def lifted(standing: Standing, at_us: int) -> Standing:
    """Return how a key and model stand after somebody has ended their cool-down: what led to it is forgotten."""
    if at_us < standing.since_us:  # meant for a cool-down before this one
        return standing
    return Standing((), standing.since_us or at_us, at_us)


def cooldowns(rule: Rule, ripe_us: int | None, calls: Iterable[Call]) -> list[Cooldown]:
    """Return the cool-downs that calls of one key and model lead to, whatever was done about them at the time.

    Calls are refused that begin in one; anomalous ones are enough, in any order.
    """
    found: list[Cooldown] = []
    standing = NEW
    for call in sorted(calls, key=lambda one: (one.ended_us, one.call_id)):
        if not counts(rule, call, ripe_us):
            continue
        before, standing = standing, after(rule, standing, Anomaly(call.call_id, call.started_us, call.ended_us))
        if standing.until_us != before.until_us:
            found.append(Cooldown(standing.since_us, standing.until_us))
    return found

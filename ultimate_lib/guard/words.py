"""What a blocked or warned client is told: the value, what is usual, until when, and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Limited

if TYPE_CHECKING:
    from datetime import datetime

    from ultimate_lib.guard.events import Event

CODE = "guard_blocked"
OVERRIDE = "override"
"""What `x-ultimate-guard` says to get past the guard."""
_HINT = (
    "A key with settings:manage goes on with the header 'x-ultimate-guard: override', ends the cool-down, or sets "
    "the key's guard to warn: see the page Guard."
)
_NOT_YOURS = "This key's own 'x-ultimate-guard: override' counts for nothing: it lacks settings:manage."


class Reason(NamedTuple):
    """Why the guard steps in: for a header, in a sentence, and when trying again helps (null: not by waiting)."""

    short: str
    sentence: str
    after_s: float | None = None
    advisory: bool = False  # no reason to refuse, only to tell


def usd(value: float) -> str:
    """Return dollars in words, with as many digits as tell something."""
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}" if value >= 0.01 else f"${value:.6f}"  # noqa: PLR2004 - cents


def cooldown(model: str, until_us: int, now_us: int, last: Event | None) -> Reason:
    """Return why a call in a cool-down is refused."""
    until = _time(to_datetime(until_us))
    why = ""
    if last is not None:
        why = f"; the last cost {usd(last.cost_usd)}, usual is at most {usd(last.usual_usd)}"
    return Reason(
        f"cool-down until {until}",
        f"This key's calls of '{model}' cost far more than usual{why}. They are refused until {until}.",
        max((until_us - now_us) / 1e6, 1.0),
    )


def large_input(tokens: int, usual: float) -> Reason:
    """Return why a call of far more input than usual is refused."""
    return Reason(
        f"input about {tokens} tokens, usual at most {usual:.0f}",
        f"This call's input is about {tokens} tokens; usual for its key and model is at most {usual:.0f}. "
        "Waiting does not help; less input does.",
    )


def spend(window: str, spent_usd: float, usual: float, after_s: float, *, advisory: bool) -> Reason:
    """Return why a call of a key that spends too quickly is refused, or told of."""
    value = f"{usd(spent_usd)} spent in the last {window}"
    return Reason(
        f"{value}, usual at most {usd(usual)}",
        f"This key has {value}; usual at this hour of the week is at most {usd(usual)}. "
        "It goes on as that rolls off.",
        after_s,
        advisory,
    )


def cap(name: str, value: str, most: str, after_s: float | None = None) -> Reason:
    """Return why a call beyond one of the settings' caps is refused."""
    return Reason(
        f"{value}, cap {most}",
        f"The proxy's settings cap this (guard.{name}): {value}, at most {most}.",
        after_s,
    )


def refused(reason: Reason, *, overridden: bool, wait_s: float) -> Limited:
    """Return the error of a call that the guard refuses; `overridden`: it asked to get past it, in vain."""
    hint = f"{_HINT} {_NOT_YOURS}" if overridden else _HINT
    return Limited(reason.sentence, hint=hint, code=CODE, retry_after_s=reason.after_s or wait_s)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

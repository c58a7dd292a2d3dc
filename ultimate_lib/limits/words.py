"""What a refused call is told: what it needs, what is left, what is held, and what would fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.errors import Limited

if TYPE_CHECKING:
    from ultimate_lib.limits.calls import Budget

_SOON_S = 10.0  # others' holds come back within seconds or minutes
_LATEST_S = 86_400.0
CODE = "budget"


def told(value: int, unit: str) -> str:
    """Return an amount in words."""
    return f"${value / 1e9:.6f}" if unit == "nano_usd" else f"{value} tokens"


def short(budget: Budget, *, need: int, left: int, held: int, fits: int | None, after_s: float | None) -> Limited:
    """Return the error of a call that its budget does not pay for; `after_s` is when the period turns."""
    unit = budget.unit
    text = (
        f"The budget {budget.title} does not pay for this call: it needs up to {told(need, unit)}, "
        f"{told(max(left, 0), unit)} are left, of which other calls hold {told(held, unit)}."
    )
    if fits:
        hint = f"max_tokens of {fits} would fit now."
    elif need <= left:
        hint = "Try again when other calls have ended."
    elif after_s is None:
        hint = "Raise the budget."
    else:
        hint = "Raise the budget, or wait until its period turns."
    wait_s = _SOON_S if need <= left else _LATEST_S if after_s is None else min(max(after_s, 1.0), _LATEST_S)
    return Limited(text, hint=hint, code=CODE, retry_after_s=wait_s)


def unpriced(budget: Budget, reason: str) -> Limited:
    """Return the error of a call whose worst case is not known."""
    return Limited(
        f"The budget {budget.title} is a hard one, and what this call may cost is not known: {reason}.",
        hint="Use another model or leave that out, or set the budget's 'unpriced' to allow or price_as:<model>.",
        code=CODE,
        retry_after_s=_LATEST_S,
    )


def several_gateways(budget: Budget) -> Limited:
    """Return the error of a call under a hard budget that several processes would have to share."""
    return Limited(
        f"The budget {budget.title} is a hard one, which several gateway processes cannot keep.",
        hint="Set server.gateways = 1, or make the budget soft.",
        code=CODE,
        retry_after_s=_LATEST_S,
    )


def unread(budget: Budget) -> Limited:
    """Return the error of a call under a hard budget of which nobody can say yet what is left."""
    return Limited(
        f"What the budget {budget.title} has spent is not known yet, and it is a hard one.",
        hint="It is read from the store and the journal; try again in a few seconds.",
        code=CODE,
        retry_after_s=_SOON_S,
    )


def crowded(calls: int, size: int) -> Limited:
    """Return the error of a call that would have to wait where too many do."""
    return Limited(
        f"Other calls hold what this one needs of its budget, and {calls} calls of {size / 2**20:.0f} MiB wait.",
        hint="Try again when some have ended; limits.waiting_bytes says how much may wait.",
        code=CODE,
        retry_after_s=_SOON_S,
    )


def crowded_by_one(calls: int, subject: str) -> Limited:
    """Return the error of a call that would have to wait where too many of the same key or user do."""
    return Limited(
        f"Other calls hold what this one needs of its budget, and {calls} calls of this {subject} wait already.",
        hint="Try again when some have ended; no key and no user may have more that wait.",
        code=CODE,
        retry_after_s=_SOON_S,
    )


def unweighed(size: int) -> Limited:
    """Return the error of a large call whose bound would have to wait for those of too many others."""
    return Limited(
        f"What this call may cost is not known yet: {size / 2**20:.0f} MiB of other calls are looked through first.",
        hint="Try again in a few seconds; limits.waiting_bytes says how much may wait.",
        code=CODE,
        retry_after_s=_SOON_S,
    )

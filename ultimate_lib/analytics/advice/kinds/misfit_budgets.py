"""Budgets that would not stop anything, and budgets that are too small for what is spent as a rule.

A period's spend is drawn 2,000 times from the days of the span (days of the same weekday where there are four weeks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ultimate_lib.analytics.advice import words
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ultimate_lib.analytics.advice.evidence import Evidence

FEWEST_DAYS = 14
_DAYS = {"day": 1, "week": 7, "month": 30}
_FAR_ABOVE = 3.0  # times what 99 of 100 periods stay below
_TOO_SMALL = 0.8  # of the periods exceed it
_DRAWS = 2000
_REACHED = 0.95  # of a hard budget: calls are refused soon
_OFTEN = 0.5


def find(evidence: Evidence) -> Looked:
    """Return budgets that do not fit.

    `budgets` has `id`, `name`, `subject`, `subject_id`, `unit`, `amount`, `period`, `hard`, `enabled`, `daily`: the
    spend of each whole day of the span, oldest first, from the first that had any.
    """
    budgets = evidence.budgets
    if budgets is None:
        return Looked(at=0, few=evidence.why_not)
    judged, drafts = 0, []
    for row in budgets.iter_rows(named=True):
        daily = np.array(row["daily"] or [], dtype=float)
        if not row["enabled"] or row["period"] not in _DAYS or len(daily) < FEWEST_DAYS or not daily.any():
            continue
        judged += 1
        found = _draft(row, daily)
        if found is not None:
            drafts.append(found)
    few = f"No budget has {FEWEST_DAYS} days of spend that you may see." if budgets.height and not judged else ""
    return Looked(at=judged, found=drafts, few=few)


def _draft(row: dict[str, Any], daily: NDArray[np.float64]) -> Draft | None:
    periods = _periods(daily, _DAYS[row["period"]])
    low, middle, high, most = np.quantile(periods, [0.05, 0.5, 0.95, 0.99])
    if most <= 0:  # hardly ever anything is spent: that says nothing of what a budget should be
        return None
    amount, name = float(row["amount"]), f"'{row['name'] or row['id']}'"
    exceeds = float((periods > amount).mean())
    capped = row["hard"] and row["period"] == "day" and float((daily >= _REACHED * amount).mean()) >= _OFTEN

    def say(value: float) -> str:
        return words.usd(value / words.NANO) if row["unit"] == "nano_usd" else f"{value:,.0f} tokens"

    usual = f"a {row['period']} of these calls comes to {say(middle)} (90 %: {say(low)} to {say(high)})"
    if amount > _FAR_ABOVE * most:
        what = f"The budget {name} of {say(amount)} a {row['period']}"
        title = f"{what} is {amount / most:.1f} times what 99 of 100 {row['period']}s stay below"
        how = [
            f"{usual[:1].upper()}{usual[1:]}: {say(_round(2 * most))} would leave room and still stop what runs away."
        ]
    elif exceeds >= _TOO_SMALL or capped:
        often = f"{exceeds:.0%} of {row['period']}s would exceed it"
        if capped:
            often = f"{float((daily >= _REACHED * amount).mean()):.0%} of the days reached {_REACHED:.0%} of it"
        title = f"The budget {name} of {say(amount)} a {row['period']} is too small for what is usual: {often}"
        means = "Calls are refused then." if row["hard"] else "It tells of nothing new then."
        how = [
            f"{usual[:1].upper()}{usual[1:]}. {means}",
            f"{say(_round(1.2 * most))} would hold all but the unusual; or spend less.",
        ]
    else:
        return None
    return Draft(
        title=title,
        about_calls=False,
        who={"budget": row["id"], row["subject"]: row["subject_id"]},
        how=how,
        assumptions=[
            (
                f"Drawn from {len(daily)} days of spend; a trend is not looked at: the forecast of the budget "
                f"tells that."
            ),
            *(["A hard budget cuts off what would have been spent: the true need may be higher."] if capped else []),
        ],
    )


def _periods(daily: NDArray[np.float64], days: int) -> NDArray[np.float64]:
    """Return the spend of drawn periods: each day from the days of its weekday, or from all where they are few."""
    dice = np.random.default_rng(1)
    weekly = len(daily) >= 4 * 7
    drawn = np.zeros(_DRAWS)
    first = dice.integers(0, 7, _DRAWS)
    for day in range(days):
        if weekly:
            for weekday in range(7):
                here = np.flatnonzero((first + day) % 7 == weekday)
                drawn[here] += dice.choice(daily[weekday::7], len(here))
        else:
            drawn += dice.choice(daily, _DRAWS)
    return drawn


def _round(value: float) -> float:
    """Return two significant digits, upwards."""
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / step) * step)

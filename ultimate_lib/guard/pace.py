"""Whether a key spends too quickly for its hour of the week: what it has spent, beside what is usual. Pure.

Too quickly is above all of: what is usual at that hour, twice the most that it ever spent in so much time, and twenty
ordinary calls. The last two let through a job that is run at another hour and a burst of ordinary calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.guard.known import WEEK_H
from ultimate_lib.guard.spend import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultimate_lib.guard.known import Rate

_HOUR_US = 3_600_000_000
_THURSDAY_H = 72  # 1970 began on one; the hours of a week are counted from Monday
_SEVERAL = 20
_AS_EVER = 2.0


class TooMuch(NamedTuple):
    """What a key has spent within one of `WINDOWS`, and from which sum on that is too much; in nano-dollars."""

    window: int
    spent: int
    most: float


def too_quick(rate: Rate, spent: Sequence[int], floor_nano_usd: int, now_us: int) -> TooMuch | None:
    """Return where a key spends too quickly, by the longest window in which it does."""
    least = _SEVERAL * max(floor_nano_usd, rate.call_usd * 1e9)
    if not spent[-1] > least:
        return None
    share = rate.shares[(now_us // _HOUR_US + _THURSDAY_H) % WEEK_H]
    for number in reversed(range(len(WINDOWS))):
        usual, ever = rate.usual_usd[number], rate.most_usd[number]
        if usual is None or spent[number] <= least:
            continue
        scaled = usual if number == len(WINDOWS) - 1 else usual * share
        most = max(max(scaled, _AS_EVER * ever) * 1e9, least)
        if spent[number] >= most:
            return TooMuch(number, spent[number], most)
    return None

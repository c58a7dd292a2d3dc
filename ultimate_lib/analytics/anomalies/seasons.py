"""What a value should be at this hour: four profiles that learn, and the one that has missed least so far."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

HOUR_S, DAY_S = 3600, 86400
_THURSDAY = 3  # 1 January 1970, from Monday
_SATURDAY = 5
_FEWEST = 3  # values before a slot is believed
_PRIOR = 3.0  # values that the spread over all slots counts for beside a slot's own
_SLOWING = 0.9  # a slot moves by 1 / visits ** this: a little quicker than a mean
_MOST_VISITS = 1000
_DAY = 1  # the profile of the hour of the day
_CLEARLY = 0.8  # of the hour of the day's mean error
_HEED = 0.002  # how quickly the profiles' errors are forgotten


class Expected(NamedTuple):
    """A value's expectation and its usual distance from it."""

    value: float
    spread: float

    def away(self, value: float) -> float:
        """Return how many spreads a value is away."""
        miss = value - self.value
        if self.spread > 0:
            return miss / self.spread
        return math.copysign(1e9, miss) if miss else 0.0


class Told(NamedTuple):
    """What each profile expects, and two choices among them.

    `believed` is of the profile that has missed least. `hour` is of the hour of the day, or of the week where that
    has missed clearly less.
    """

    each: list[Expected]
    believed: Expected
    hour: Expected


class Profile:
    """A mean and a spread by slot of time."""

    __slots__ = ("pooled", "pooled_n", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, list[float]] = {}  # mean, visits, sum of squares
        self.pooled = 0.0
        self.pooled_n = 0.0

    def at(self, slot: int) -> Expected | None:
        """Return what to expect in a slot, or None before it is known."""
        known = self.slots.get(slot)
        if known is None or known[1] < _FEWEST:
            return None
        share = self.pooled / self.pooled_n if self.pooled_n else 0.0
        return Expected(known[0], math.sqrt((known[2] + _PRIOR * share) / (known[1] + _PRIOR)))

    def learn(self, slot: int, value: float) -> None:
        """Take a value in."""
        known = self.slots.get(slot)
        if known is None:
            self.slots[slot] = [value, 1.0, 0.0]
            return
        known[1] += 1
        miss = value - known[0]
        known[0] += miss / known[1] ** _SLOWING
        square = miss * (value - known[0])
        known[2] += square
        self.pooled += square
        self.pooled_n += 1
        if known[1] >= _MOST_VISITS:  # older values fade
            known[1] *= 0.5
            known[2] *= 0.5
        if self.pooled_n >= 100 * _MOST_VISITS:
            self.pooled *= 0.5
            self.pooled_n *= 0.5

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        slots = [[slot, *known] for slot, known in self.slots.items()]
        return {"slots": slots, "pooled": self.pooled, "pooled_n": self.pooled_n}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Profile:
        """Return the profile of which `to_dict` told."""
        made = cls()
        made.slots = {int(slot): known for slot, *known in state["slots"]}
        made.pooled, made.pooled_n = state["pooled"], state["pooled_n"]
        return made


class Seasons:
    """Profiles of no season, the hour of the day, the same with weekends apart, and the hour of the week."""

    __slots__ = ("errors", "n", "profiles")

    def __init__(self) -> None:
        self.profiles = [Profile() for _ in range(4)]
        self.errors = [0.0] * 4
        self.n = 0

    @staticmethod
    def slots(at: int) -> tuple[int, int, int, int]:
        """Return the slot in each profile for a time in seconds since 1970."""
        hour = at // HOUR_S % 24
        day = (at // DAY_S + _THURSDAY) % 7
        return 0, hour, hour + 24 * (day >= _SATURDAY), hour + 24 * day

    def expect(self, slots: tuple[int, ...]) -> Told | None:
        """Return what the profiles expect; one that knows nothing yet says what the one before it says.

        None while nothing is known.
        """
        told = self.profiles[0].at(0)
        if told is None:
            return None
        each = []
        for profile, slot in zip(self.profiles, slots, strict=True):
            told = profile.at(slot) or told
            each.append(told)
        best = self.errors.index(min(self.errors))
        clear = best > _DAY and self.errors[best] < _CLEARLY * self.errors[_DAY]
        return Told(each, each[best], each[best if clear else _DAY])

    def learn(self, slots: tuple[int, ...], value: float, told: Told | None) -> None:
        """Take a value in, and how far each profile was from it."""
        if told is not None:
            self.n += 1
            pace = max(_HEED, 1 / self.n)
            for index, one in enumerate(told.each):
                self.errors[index] += (abs(value - one.value) - self.errors[index]) * pace
        for profile, slot in zip(self.profiles, slots, strict=True):
            profile.learn(slot, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        return {"profiles": [one.to_dict() for one in self.profiles], "errors": self.errors.copy(), "n": self.n}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Seasons:
        """Return the seasons of which `to_dict` told."""
        made = cls()
        made.profiles = [Profile.from_dict(one) for one in state["profiles"]]
        made.errors, made.n = list(state["errors"]), state["n"]
        return made

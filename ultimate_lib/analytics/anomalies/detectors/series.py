"""The series detector: five kinds of evidence, each measured by how rare it has been in this very series.

Every stream turns a point into a size (how far from its hour, from all values so far, how far the level has moved,
how restless or still the series is) and the size into decades of rarity. Streams that say much the same form a
kind, which counts by its loudest; a kind's evidence fades over the next points, so that kinds that speak shortly
after each other speak together. What exceeds `_COMMON` decades is summed over the kinds. After an anomaly it is
silent for a while.

The constants were chosen on public series together, never by a series' name: `tests/bench/anomaly.py` prints what
they score, and what a threshold chosen on one half scores on the other.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ultimate_lib.analytics.anomalies.scored import SKIPPED, Moment, Scored, known, same_version, seconds
from ultimate_lib.analytics.anomalies.seasons import Seasons, Told
from ultimate_lib.analytics.anomalies.sketch import Sides, Tail
from ultimate_lib.analytics.anomalies.traces import Level, Sample

THRESHOLD = 4.0
KINDS: dict[str, tuple[str, ...]] = {
    "hour": ("hour",),
    "novelty": ("novelty",),
    "level": ("season's level", "level"),
    "shift": ("shift",),
    "unrest": ("unrest", "restless", "calm", "still"),
}
"""The streams by kind; their names are what `Scored.reason` says."""

_COMMON = 1.4  # decades that are no evidence: one point in twenty-five is as rare
_FADING = 0.25  # decades that evidence loses a point
_SILENT = 0.3  # of the points learnt from first, after an anomaly
_LONGEST = 750  # points learnt from that make it longer
_USUAL = 0.99  # share of points inside the expected range
_FAR = 4.0  # spreads: further away counts no more for what lasts
_LASTING, _UNREST = 0.1, 0.02  # shares by which a point moves what lasts
_MOST_STILL = 6.0
_SETTLED = 100  # points until the quick mean of changes has forgotten that it began at none
_LATE = 40  # points after which the calm is counted: it comes slowly
_VERSION = 1


class SeriesDetector:
    """Finds points and stretches unlike the series so far; knows the hour of the day and of the week."""

    THRESHOLD: ClassVar[float] = THRESHOLD

    def __init__(self, *, learning: int, threshold: float = THRESHOLD) -> None:
        self._learning = learning
        self._threshold = threshold
        self._n = 0
        self._silent = 0
        self._lasting = 0.0
        self._unrest = 0.0
        self._seasons = Seasons()
        self._level = Level()
        self._sample = Sample()
        self._sides = {"hour": Sides(), "season's level": Sides()}
        self._tails = {name: Tail() for streams in KINDS.values() for name in streams if name not in self._sides}
        self._tails["calm"] = Tail(late=_LATE)
        self._fading = dict.fromkeys(KINDS, (0.0, ""))

    def update(self, at: Moment, value: float) -> Scored:
        """Judge a point by those before it, then learn from it; an unknown value (NaN) does neither."""
        if not known(value):
            return SKIPPED
        value = float(value)
        slots = self._seasons.slots(seconds(at))
        expected = self._seasons.expect(slots)
        low, high = self._range(expected)
        rare = self._rare(value, expected)
        self._seasons.learn(slots, value, expected)
        self._level.learn(value)
        self._sample.learn(value)
        self._n += 1
        score, reason = self._sum(rare)
        if self._n <= self._learning:
            score = 0.0
        elif self._silent:
            self._silent -= 1
            score = 0.0
        elif score >= self._threshold:
            self._silent = int(_SILENT * min(self._learning, _LONGEST))
            return Scored(score, True, reason, low, high)
        return Scored(score, False, reason if score else "", low, high)

    def _rare(self, value: float, expected: Told | None) -> dict[str, float]:
        """Return the decades of each stream that has any."""
        level, tails, sides = self._level, self._tails, self._sides
        rare = {
            "level": tails["level"].judge(level.relative_shift()),
            "shift": tails["shift"].judge(level.shift()),
            "restless": tails["restless"].judge(level.restless()),
            "calm": tails["calm"].judge(level.calm()) if level.n >= _SETTLED else 0.0,
            "still": self._still(value),
        }
        distance = self._sample.distance(value)
        if distance is not None:
            rare["novelty"] = tails["novelty"].judge(distance)
        if expected is not None:
            away = expected.believed.away(value)
            self._lasting += (max(-_FAR, min(away, _FAR)) - self._lasting) * _LASTING
            self._unrest += (min(abs(away), _FAR) - self._unrest) * _UNREST
            rare["hour"] = sides["hour"].judge(expected.hour.away(value))
            rare["season's level"] = sides["season's level"].judge(self._lasting)
            rare["unrest"] = tails["unrest"].judge(self._unrest)
        return rare

    def _still(self, value: float) -> float:
        """Return the decades of a value that repeats the last: by chance, and beside earlier runs of repeats."""
        level, runs = self._level, self._tails["still"]
        if value != level.last:
            runs.add(float(level.run))
            return 0.0
        return min(runs.surprise(level.run + 1.0, runs.n), level.standing(value), _MOST_STILL)

    def _sum(self, rare: dict[str, float]) -> tuple[float, str]:
        """Return the evidence of all kinds together, and the loudest stream."""
        total, loudest, reason = 0.0, 0.0, ""
        for kind, streams in KINDS.items():
            decades, name = self._fading[kind]
            decades -= _FADING
            for stream in streams:
                new = rare.get(stream, 0.0)
                if new > decades:
                    decades, name = new, stream
            self._fading[kind] = (decades, name)
            if decades > _COMMON:
                total += decades - _COMMON
            if decades > loudest:
                loudest, reason = decades, name
        return total, reason

    def _range(self, expected: Told | None) -> tuple[float | None, float | None]:
        if expected is None:
            return None, None
        hour = expected.hour
        below, above = self._sides["hour"].range(1 - _USUAL)
        return hour.value + below * hour.spread, hour.value + above * hour.spread

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        return {
            "version": _VERSION,
            "learning": self._learning,
            "threshold": self._threshold,
            "n": self._n,
            "silent": self._silent,
            "lasting": self._lasting,
            "unrest": self._unrest,
            "seasons": self._seasons.to_dict(),
            "level": self._level.to_dict(),
            "sample": self._sample.to_dict(),
            "sides": {name: one.to_dict() for name, one in self._sides.items()},
            "tails": {name: one.to_dict() for name, one in self._tails.items()},
            "fading": {kind: list(one) for kind, one in self._fading.items()},
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> SeriesDetector:
        """Return a detector that goes on where `to_dict` was called."""
        state = same_version(state, _VERSION)
        made = cls(learning=state["learning"], threshold=state["threshold"])
        made._n, made._silent = state["n"], state["silent"]
        made._lasting, made._unrest = state["lasting"], state["unrest"]
        made._seasons = Seasons.from_dict(state["seasons"])
        made._level = Level.from_dict(state["level"])
        made._sample = Sample.from_dict(state["sample"])
        made._sides = {name: Sides.from_dict(one) for name, one in state["sides"].items()}
        made._tails = {name: Tail.from_dict(one) for name, one in state["tails"].items()}
        made._fading = {kind: (decades, name) for kind, (decades, name) in state["fading"].items()}
        return made


DETECTOR = SeriesDetector

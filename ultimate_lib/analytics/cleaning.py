"""Make a series ready to learn from: gaps filled, single giants and odd hours left out, and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ultimate_lib.errors import Invalid, NotEnoughData

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from ultimate_lib.analytics.members.families import Step

    Floats: TypeAlias = NDArray[np.float64]

FEWEST = {"hour": 24, "day": 5}
"""Fewest values that are forecast at all."""
_MOST_GAPS = 1 / 3
_FEWEST_CYCLES = 3
_AROUND, _FAR_OFF = 4, 8.0


def prepared(values: Floats, step: Step, season: int) -> tuple[Floats, list[str]]:
    """Return the series without gaps and single giants, and what was done to it."""
    if values.ndim != 1:
        raise Invalid("A series is one row of numbers.", hint="Pass one value a step.")
    if np.isinf(values).any():
        raise Invalid("The series holds infinite values.", hint="Mark what is unknown as NaN.")
    known = np.flatnonzero(~np.isnan(values))
    least = FEWEST[step]
    if len(known) < least:
        raise NotEnoughData(
            f"{len(known)} {step}s are known, and a forecast needs at least {least}.",
            hint=f"Wait until {least} {step}s have calls, or ask for a wider filter"
            + (", or for hours." if step == "day" else "."),
        )
    series = values[known[0] :].copy()
    gaps = np.flatnonzero(np.isnan(series))
    if len(gaps) > _MOST_GAPS * len(series):
        raise NotEnoughData(
            f"{len(gaps)} of {len(series)} {step}s are unknown: too many to forecast from.",
            hint="Choose a span or a filter with fewer gaps.",
        )
    if not series[~np.isnan(series)].any():
        raise NotEnoughData(
            f"All {len(known)} known {step}s are zero: nothing can be learnt from them.",
            hint="Choose a metric or a filter that has had calls.",
        )
    notes = []
    if len(gaps):
        _fill(series, gaps, season)
        notes.append(f"{count(len(gaps), step)} without a value: filled from the same {step} of neighbouring cycles.")
    giants = _giants(series)
    if len(giants):
        _fill(series, giants, season)
        notes.append(f"{count(len(giants), step)} far beyond all others: left out of the learning.")
    return series, notes


def usual(series: Floats, cycles: tuple[int, ...]) -> tuple[Floats, int]:
    """Return the series as it usually is, for learning, and how many values were not.

    Unusual is what lies far from the same place of the cycles around it, of each length, in runs shorter than a third
    of the shortest: what lasts longer is a new level.
    """
    odd, middle = np.ones(len(series), dtype=bool), series
    for cycle in cycles:
        if len(series) < _FEWEST_CYCLES * cycle:
            continue
        middle = _around(series, cycle)
        away = np.abs(series - middle)
        odd &= away > _FAR_OFF * np.maximum(_around(away, cycle), np.median(away)) + 1e-12
    if middle is series:
        return series, 0
    edges = np.flatnonzero(np.diff(np.r_[0, odd.astype(int), 0]))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin > cycles[0] // 3:
            odd[begin:end] = False
    return np.where(odd, middle, series), int(odd.sum())


def _around(series: Floats, cycle: int) -> Floats:
    """Return the median of the same place in up to four cycles before and four after."""
    shifted = []
    for turn in range(1, _AROUND + 1):
        shift = turn * cycle
        if shift < len(series):
            unknown = np.full(shift, np.nan)
            shifted += [np.r_[unknown, series[:-shift]], np.r_[series[shift:], unknown]]
    found: Floats = np.nanmedian(np.array(shifted), axis=0)
    return found


def _fill(series: Floats, at: NDArray[np.intp], season: int) -> None:
    missing = set(at.tolist())
    rest = np.delete(series, at)
    middle = float(np.median(rest[~np.isnan(rest)]))
    for place in at:
        near = [
            series[there]
            for there in (place - season, place + season, place - 2 * season, place + 2 * season)
            if 0 <= there < len(series) and there not in missing
        ]
        series[place] = float(np.mean(near)) if near else middle


def count(number: int, step: str) -> str:
    """Return "3 days" or "1 day"."""
    return f"{number} {step}{'' if number == 1 else 's'}"


def _giants(series: Floats) -> NDArray[np.intp]:
    """Return where single values lie beyond five times everything else: at most one in a hundred."""
    count = max(len(series) // 100, 1)
    size = np.abs(series)
    order = np.argsort(size)
    for giants in range(count, 0, -1):
        if size[order[-giants]] > 5 * size[order[-giants - 1]] > 0:
            return np.sort(order[-giants:])
    return np.array([], dtype=np.intp)

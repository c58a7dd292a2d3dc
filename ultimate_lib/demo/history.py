"""Made-up calls of any span, as the lake stores them: rhythm, trend and planted anomalies known, the rest by seed.

    calls(first_start=date(2026, 11, 3), start=…, end=…, book=book)      # frame of `schema.POLARS`, in order of time

Pure: the same first start, seed and price list give the same rows, however a span is cut into pieces. An hour's
calls are Poisson with the rate that `cast` says: level of the day, times weekday, times hour. What a call costs is
what the price list says on its day.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ultimate_lib.clock import to_us
from ultimate_lib.demo import cast, costs, usage
from ultimate_lib.demo.columns import ids, shapes, who
from ultimate_lib.demo.draws import Draw, sessions
from ultimate_lib.demo.planted import PLANTED
from ultimate_lib.lake import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultimate_lib.demo.cast import Workload
    from ultimate_lib.demo.planted import Planted
    from ultimate_lib.pricing import PriceBook

BLOCK_DAYS = 7
_DAY_US = 86_400_000_000
_HOUR_US = _DAY_US // 24
_PLANTED = {one.name: one for one in PLANTED}


def first_day(first_start: date) -> date:
    """Return the first day with calls of a demo that was first started on a day (UTC)."""
    return first_start - timedelta(days=cast.DAYS)


def level(number: int) -> float:
    """Return the level of the day of a number, the first with calls being 0."""
    return min(1 + cast.GROWTH * number / cast.DAYS, cast.HIGHEST_LEVEL)


def expected(workload: Workload, number: int, weekday: int) -> float:
    """Return how many calls of a workload a day is expected to have, anomalies apart."""
    return 0.0 if workload.planted else workload.a_day * level(number) * cast.WEEK[workload.rhythm][weekday]


def blocks(first_start: date, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the pieces of a span that are made together: whole weeks from the first day on, cut at its ends."""
    origin = datetime.combine(first_day(first_start), time(), UTC)
    number = (start - origin) // timedelta(days=BLOCK_DAYS)
    at = start
    while at < end:
        number += 1
        until = min(end, origin + timedelta(days=BLOCK_DAYS * number))
        yield at, until
        at = until


def calls(first_start: date, start: datetime, end: datetime, book: PriceBook, *, seed: int = 1) -> pl.DataFrame:
    """Return the calls that started in [start, end), in the order of time."""
    frames = [_block(first_start, from_, until, book, seed) for from_, until in blocks(first_start, start, end)]
    return pl.concat(frames) if frames else schema.empty()


def _block(first_start: date, start: datetime, end: datetime, book: PriceBook, seed: int) -> pl.DataFrame:
    number = (start.date() - first_day(first_start)).days // BLOCK_DAYS
    parts = []
    for place, workload in enumerate(cast.WORKLOADS):
        dice = np.random.default_rng([seed, number + 1_000, place])
        started = _starts(workload, first_start, number, dice)
        if len(started):
            parts.append(_rows(workload, started, first_start, dice, f"{number:03d}{place:02d}"))
    if not parts:
        return schema.empty()
    within = pl.col("started_at").is_between(pl.lit(start), pl.lit(end), closed="left")
    rows = pl.concat(parts, how="diagonal").filter(within).sort("started_at", "call_id")
    rows = costs.priced(rows, book)
    missing = [pl.lit(None).alias(name) for name in schema.POLARS if name not in rows.columns]
    return rows.with_columns(*missing).select(list(schema.POLARS)).cast(schema.POLARS)


def _starts(workload: Workload, first_start: date, block: int, dice: np.random.Generator) -> np.ndarray:
    """Return when a block's calls of a workload start, µs, ascending."""
    opening = first_day(first_start) + timedelta(days=BLOCK_DAYS * block)
    origin = to_us(datetime.combine(opening, time(), UTC))
    if workload.planted:
        begins, ends = span_us(_PLANTED[workload.planted], first_start)
        if not origin <= begins < origin + BLOCK_DAYS * _DAY_US:
            return np.empty(0, dtype=np.int64)
        step = (ends - begins) / workload.a_day
        steps = np.arange(int(workload.a_day)) + dice.uniform(0, 0.8, int(workload.a_day))
        return begins + (steps * step).astype(np.int64)
    hours = np.array(cast.HOURS[workload.rhythm], dtype=float)
    days = [
        expected(workload, BLOCK_DAYS * block + day, (opening + timedelta(days=day)).weekday())
        for day in range(BLOCK_DAYS)
    ]
    rates = np.outer(days, hours / hours.sum()).ravel()
    hour = np.repeat(np.arange(len(rates)), dice.poisson(rates))
    return np.sort(origin + hour * _HOUR_US + dice.integers(0, _HOUR_US, len(hour)))


def span_us(planted: Planted, first_start: date) -> tuple[int, int]:
    """Return a planted anomaly's span in µs since 1970; what lasts ends far away."""
    start, end = planted.span(first_start)
    return to_us(start), to_us(end) if end is not None else 2**62


def _rows(
    workload: Workload, started: np.ndarray, first_start: date, dice: np.random.Generator, name: str
) -> pl.DataFrame:
    """Return a workload's calls without their prices."""

    def inside(planted: str) -> np.ndarray:
        begins, ends = span_us(_PLANTED[planted], first_start)
        return np.asarray((started >= begins) & (started < ends))

    models = [model for model, _ in workload.models]
    weights = np.array([weight for _, weight in workload.models])
    draw = Draw(
        workload=workload,
        started=started,
        person=dice.choice(len(workload.people), len(started), p=_falling(len(workload.people))),
        model=dice.choice(len(models), len(started), p=weights / weights.sum()),
        models=models,
        dice=dice,
        name=name,
    )
    if workload.models is cast.SUPPORT_BEFORE:
        draw.models = [*models, *(model for model, _ in cast.SUPPORT_AFTER)]
        draw.model = draw.model + len(models) * inside("model-change")
    sessions(draw)
    provider = np.array([model.provider for model in draw.models])[draw.model]
    down = inside("outage") & (provider == "openai")
    slow = inside("slow-gemini") & (provider == "gemini")
    cold = inside("cold-cache") & (workload.app == "claude-code")
    used = usage.tokens(draw, cold)
    told = {**ids(draw), **who(draw), **shapes(draw), **used, **usage.times(draw, used, slow)}
    return usage.ended(pl.DataFrame(told), draw, down)


def _falling(among: int) -> np.ndarray:
    """Return shares that fall: the first person calls most."""
    weights = 1 / np.arange(1, among + 1) ** 0.6
    return np.asarray(weights / weights.sum())

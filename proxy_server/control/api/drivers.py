"""Why spend changed between two spans, over REST: read from the lake, told apart by `analytics.drivers`."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlencode

from msgspec import Meta, Struct

from proxy_server.control.api import span
from proxy_server.control.api.analytics import Filter, Groups, Missing, where
from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.errors import Invalid, NotEnoughData
from ultimate_lib.limits import calendar

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from ultimate_lib.analytics.drivers import Effects, Mover, Name, Used
    from ultimate_lib.lake.query import Answer
    from ultimate_lib.workbench import Workbench

METHOD = "Shapley values of calls x model's share x tokens a call x cost of a token"
_NANO = 10**9
_METRICS = ("cost_usd", "requests", "priced_requests", "unpriced_requests", "total_tokens", "cache_hit_ratio")
_PINNED = {"model", "provider", "status", "project", "notebook", "user", "session", "key", "team"}
"""Dimensions by which the page of calls can be asked for one value."""


class AskedCost(Struct, kw_only=True):
    """Which spans. Default: the last whole week and the one before."""

    start: Annotated[str, Meta(description="First day, or an instant; inclusive.")] = ""
    end: Annotated[str, Meta(description="Last day, inclusive, or an instant, exclusive.")] = ""
    before_start: Annotated[str, Meta(description="Of the span before; default: as long, and ends at `start`.")] = ""
    before_end: Annotated[str, Meta(description="As `end`.")] = ""
    by: Groups = ("model", "project", "key", "notebook", "team")
    limit: Annotated[int, Meta(ge=1, le=100, description="Most values of a dimension.")] = 5
    filter: Filter = ()


class Level(Struct, kw_only=True):
    """One span. The cost of unpriced calls is not known and in nothing but their count."""

    start: datetime
    end: datetime
    cost_usd: float | None  # null: calls, and none of known cost
    cost_nano_usd: int
    requests: int
    priced_requests: int
    unpriced_requests: int
    tokens_per_request: float | None
    usd_per_million_tokens: float | None
    cache_hit_ratio: float | None


class EffectsTold(Struct, kw_only=True):
    """Parts of a change, in nano-dollars; their sum is the change, to the last one."""

    volume_nano_usd: int
    model_mix_nano_usd: int
    tokens_per_request_nano_usd: int
    price_nano_usd: int


class MoverTold(Struct, kw_only=True):
    """One value of a dimension, null for calls without one; `calls` is the page of its calls, where there is one."""

    value: str | None
    filter: str
    calls: str | None
    before_nano_usd: int
    after_nano_usd: int
    change_nano_usd: int
    effects: EffectsTold


class DimensionTold(Struct, kw_only=True):
    """What moved most, largest change first; movers and rest sum to the change."""

    dimension: str
    movers: list[MoverTold]
    rest_nano_usd: int
    rest_values: int  # whose changes are in the rest


class CostExplained(Struct, kw_only=True):
    """Why spend changed."""

    time_zone: str
    before: Level
    after: Level
    change_nano_usd: int
    change_usd: float
    change_ratio: float | None  # of what was before; null where that was nothing
    effects: EffectsTold
    method: str
    dimensions: list[DimensionTold]
    notes: list[str]
    missing: Missing


class Pair(NamedTuple):
    """The two spans, in the billing zone."""

    before: tuple[datetime, datetime]
    after: tuple[datetime, datetime]


def analyze(bench: Workbench, caller: Caller, asked: AskedCost) -> CostExplained:
    """Return why spend changed. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.analytics import drivers  # noqa: PLC0415 - not before the first question

    _check(asked)
    pair = _spans(bench, asked)
    totals = [_read(bench, caller, asked, one, ()) for one in pair]
    levels = [_level(answer, *one) for answer, one in zip(totals, pair, strict=True)]
    before, after = levels
    if not before.requests and not after.requests:
        raise NotEnoughData(
            "No call lies in either span.", hint="Choose other spans or another filter.", code="no_calls"
        )
    change = after.cost_nano_usd - before.cost_nano_usd
    sides = [_used(_read(bench, caller, asked, one, ("model",)), ("model",)) for one in pair]
    whole = drivers.effects(*({model: used for (model, _), used in side.items()} for side in sides))
    return CostExplained(
        time_zone=bench.settings.billing.time_zone,
        before=before,
        after=after,
        change_nano_usd=change,
        change_usd=change / _NANO,
        change_ratio=change / before.cost_nano_usd if before.cost_nano_usd else None,
        effects=_effects(whole),
        method=METHOD,
        dimensions=[_dimension(bench, caller, asked, pair, name, change) for name in dict.fromkeys(asked.by)],
        notes=_notes(pair, before, after),
        missing=Missing(sum(one.missing_files for one in totals), _rows(totals)),
    )


def _check(asked: AskedCost) -> None:
    from ultimate_lib.lake.query import known  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.metrics import DIMENSIONS  # noqa: PLC0415 - see above

    single = [name for name, one in DIMENSIONS.items() if not one.multiple]
    for name in asked.by:
        if name in DIMENSIONS and name not in single:
            raise Invalid(f"A call has several of '{name}': changes by it do not sum.", hint="Filter by it instead.")
        known("dimension", name, single)


def _spans(bench: Workbench, asked: AskedCost) -> Pair:
    billing = bench.settings.billing
    zone = span.zone_of(billing.time_zone)
    if asked.start:
        told = span.read(asked.start, asked.end, zone.key, clock=bench.clock, default=timedelta(days=7))
        start, end = told.start.astimezone(zone), told.end.astimezone(zone)
    elif asked.end or asked.before_start or asked.before_end:
        raise Invalid("A span needs its start.", hint="Give start as well, or none for the last whole week.")
    else:
        week = calendar.span("week", bench.clock.now_us(), billing)
        last = calendar.span("week", week.start_us - 1, billing)
        start, end = (to_datetime(at).astimezone(zone) for at in (last.start_us, last.end_us))
    if asked.before_end and not asked.before_start:
        raise Invalid("The span before needs its start.", hint="Give before_start as well.")
    try:
        before = (start - (end.replace(tzinfo=None) - start.replace(tzinfo=None)), start)  # as the wall clock counts
    except OverflowError as error:
        raise Invalid("There is no span before the first year.", hint="Give a later start.", code="span") from error
    if asked.before_start:
        until = asked.before_end or start.isoformat()
        told = span.read(asked.before_start, until, zone.key, clock=bench.clock, default=timedelta(days=7))
        before = (told.start.astimezone(zone), told.end.astimezone(zone))
    if to_us(before[1]) > to_us(start):
        raise Invalid(
            f"The span before ends at {before[1].isoformat()}, after the other has begun.",
            hint="Two spans that share calls cannot be told apart: give an earlier before_end.",
        )
    return Pair(before, (start, end))


def _read(
    bench: Workbench, caller: Caller, asked: AskedCost, within: tuple[datetime, datetime], by: tuple[str, ...]
) -> Answer:
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import MOST_GROUPS, Query  # noqa: PLC0415 - see above

    query = Query(
        metrics=_METRICS,
        start=within[0],
        end=within[1],
        by=by,
        where=where(caller, asked.filter),
        limit=MOST_GROUPS if by else None,
    )
    return (numbers.breakdown if by else numbers.aggregate)(bench.lake, query, bench.compute)


def _nano(usd: float | None) -> int:
    """Return dollars as nano-dollars: exactly what was summed, up to 8 million dollars a group."""
    return round(Fraction(usd or 0.0) * _NANO)


def _level(answer: Answer, start: datetime, end: datetime) -> Level:
    row: dict[str, Any] = answer.frame.row(0, named=True)
    priced, tokens, requests = row["priced_requests"], row["total_tokens"], row["requests"]
    a_call = tokens / requests if tokens is not None and requests else None
    cost = row["cost_usd"] if row["cost_usd"] is not None or requests else 0.0
    dear = cost / (priced * a_call) * 1e6 if cost is not None and priced and a_call else None
    return Level(
        start=start,
        end=end,
        cost_usd=cost,
        cost_nano_usd=_nano(cost),
        requests=requests,
        priced_requests=priced,
        unpriced_requests=row["unpriced_requests"],
        tokens_per_request=a_call,
        usd_per_million_tokens=dear,
        cache_hit_ratio=row["cache_hit_ratio"],
    )


def _used(answer: Answer, by: tuple[str, ...]) -> dict[tuple[Name, Name], Used]:
    """Return what the priced calls of each group used; groups without any are left out."""
    from ultimate_lib.analytics.drivers import Used  # noqa: PLC0415 - not before the first question

    return {
        (row[by[0]], row[by[-1]]): Used(
            row["priced_requests"], (row["total_tokens"] or 0) / row["requests"], _nano(row["cost_usd"])
        )
        for row in answer.frame.iter_rows(named=True)
        if row["priced_requests"]
    }


def _dimension(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, asked: AskedCost, pair: Pair, name: str, change: int
) -> DimensionTold:
    from ultimate_lib.analytics import drivers  # noqa: PLC0415 - not before the first question

    by = (name,) if name == "model" else (name, "model")
    found = drivers.movers(*(_used(_read(bench, caller, asked, one, by), by) for one in pair))
    top = found[: asked.limit]
    return DimensionTold(
        dimension=name,
        movers=[_mover(name, one, pair.after, asked.filter) for one in top],
        rest_nano_usd=change - sum(one.change for one in top),
        rest_values=len(found) - len(top),
    )


def _mover(name: str, one: Mover, within: tuple[datetime, datetime], filters: tuple[str, ...]) -> MoverTold:
    return MoverTold(
        value=one.value,
        filter=f"{name}:{one.value or ''}",
        calls=calls_page((*filters, f"{name}:{one.value or ''}"), *within),
        before_nano_usd=one.before,
        after_nano_usd=one.after,
        change_nano_usd=one.change,
        effects=_effects(one.effects),
    )


def calls_page(filters: tuple[str, ...], start: datetime, end: datetime) -> str | None:
    """Return the page that shows the calls of a span; None where it has no field for one of the filters."""
    told: dict[str, str] = {}
    for text in filters:
        name, _, value = text.partition(":")
        if name not in _PINNED or not value or told.get(name, value) != value:
            return None
        told[name] = value
    return "/calls?" + urlencode({"start": start.isoformat(), "end": end.isoformat(), **told})


def _effects(found: Effects) -> EffectsTold:
    return EffectsTold(
        volume_nano_usd=found.volume,
        model_mix_nano_usd=found.mix,
        tokens_per_request_nano_usd=found.tokens,
        price_nano_usd=found.price,
    )


def _rows(answers: list[Answer]) -> int | None:
    known = [one.missing_rows for one in answers]
    return None if None in known else sum(one for one in known if one is not None)


def _notes(pair: Pair, before: Level, after: Level) -> list[str]:
    notes = []
    if before.unpriced_requests or after.unpriced_requests:
        notes.append(
            f"The cost of {before.unpriced_requests:,} calls before and {after.unpriced_requests:,} after is not "
            "known; they are in none of these amounts."
        )
    lengths = [to_us(end) - to_us(start) for start, end in pair]
    if abs(lengths[0] - lengths[1]) > 3 * 3_600_000_000:  # clocks change by less
        days = [f"{length / 86_400_000_000:.1f}" for length in lengths]
        notes.append(f"The spans are not equally long, {days[0]} and {days[1]} days: that is part of the volume.")
    if not before.requests:
        notes.append("No call lies in the span before: all of it is new.")
    if not after.requests:
        notes.append("No call lies in the later span: all of it has gone.")
    return notes

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
_METRICS = (
    "cost_usd", "requests", "priced_requests", "unpriced_requests", "total_tokens", "output_tokens",
    "priced_output_tokens", "cache_hit_ratio",
)  # fmt: skip
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
    tokens_per_request_nano_usd: int | None
    price_nano_usd: int | None
    tokens_or_price_nano_usd: (
        int  # both, where calls without a known cost hide the tokens of the others: they are null
    )


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
    cut: bool = False  # at now: the later span is not over, and the one before is as much shorter


def analyze(bench: Workbench, caller: Caller, asked: AskedCost) -> CostExplained:
    """Return why spend changed. Raises `Invalid`, `NotEnoughData`."""
    from ultimate_lib.analytics import drivers  # noqa: PLC0415 - not before the first question

    _check(asked)
    pair = _spans(bench, asked)
    totals = [_read(bench, caller, asked, one, ()) for one in pair[:2]]
    levels = [_level(answer, *one) for answer, one in zip(totals, pair[:2], strict=True)]
    before, after = levels
    if not before.requests and not after.requests:
        raise NotEnoughData(
            "No call lies in either span.", hint="Choose other spans or another filter.", code="no_calls"
        )
    change = after.cost_nano_usd - before.cost_nano_usd
    rows = [one.frame.row(0, named=True) for one in totals]
    sides = _sides(bench, caller, asked, pair, rows, ("model",))
    whole = drivers.effects(*({model: used for (model, _), used in side.items()} for side in sides))
    dimensions = [_dimension(bench, caller, asked, pair, rows, name) for name in dict.fromkeys(asked.by)]
    return CostExplained(
        time_zone=bench.settings.billing.time_zone,
        before=before,
        after=after,
        change_nano_usd=change,
        change_usd=change / _NANO,
        change_ratio=change / before.cost_nano_usd if before.cost_nano_usd else None,
        effects=_effects(whole),
        method=METHOD,
        dimensions=dimensions,
        notes=_notes(pair, before, after, whole, rest=any((drivers.REST, drivers.REST) in side for side in sides)),
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
    now = bench.clock.now().astimezone(zone)
    if to_us(start) >= to_us(now):
        raise Invalid(
            f"The span begins at {start.isoformat()}: none of it has been yet.",
            hint="Ask the forecast for what is to come, or give a start that is past.",
            code="span",
        )
    length = end.replace(tzinfo=None) - start.replace(tzinfo=None)  # as the wall clock counts
    try:
        before = (start - length, start)
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
    if to_us(end) <= to_us(now):
        return Pair(before, (start, end))
    had = now.replace(tzinfo=None) - start.replace(tzinfo=None)
    if before[1].replace(tzinfo=None) - before[0].replace(tzinfo=None) == length:
        before = (before[0], before[0] + had)
    return Pair(before, (start, now), cut=True)


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
    tokens, requests = row["total_tokens"], row["requests"]
    a_call = tokens / requests if tokens is not None and requests else None
    cost = row["cost_usd"] if row["cost_usd"] is not None or requests else 0.0
    dear = cost / tokens * 1e6 if cost is not None and tokens and _all_priced(row) else None
    return Level(
        start=start,
        end=end,
        cost_usd=cost,
        cost_nano_usd=_nano(cost),
        requests=requests,
        priced_requests=row["priced_requests"],
        unpriced_requests=row["unpriced_requests"],
        tokens_per_request=a_call,
        usd_per_million_tokens=dear,
        cache_hit_ratio=row["cache_hit_ratio"],
    )


def _sides(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, asked: AskedCost, pair: Pair, totals: list[dict[str, Any]], by: tuple[str, ...]
) -> list[dict[tuple[Name, Name], Used]]:
    """Return what the priced calls of each group used in either span; groups without any are left out."""
    answers = [_read(bench, caller, asked, one, by) for one in pair[:2]]
    return [_used(answer, by, total) for answer, total in zip(answers, totals, strict=True)]


def _used(answer: Answer, by: tuple[str, ...], total: dict[str, Any]) -> dict[tuple[Name, Name], Used]:
    """Return what each group used, and together those that were too many."""
    from ultimate_lib.analytics.drivers import REST, Used  # noqa: PLC0415 - not before the first question
    from ultimate_lib.lake.query import MOST_GROUPS  # noqa: PLC0415 - the lake's libraries load with the first question

    found = {}
    for row in answer.frame.iter_rows(named=True):
        if row["priced_requests"]:
            tokens = (row["total_tokens"] or 0) / row["priced_requests"] if _all_priced(row) else None
            found[row[by[0]], row[by[-1]]] = Used(row["priced_requests"], tokens, _nano(row["cost_usd"]))
    if answer.frame.height >= MOST_GROUPS:
        calls = total["priced_requests"] - sum(one.calls for one in found.values())
        cost = _nano(total["cost_usd"]) - sum(one.cost for one in found.values())
        if calls > 0:
            found[REST, REST] = Used(calls, None, cost)
    return found


def _all_priced(row: dict[str, Any]) -> bool:
    """Return whether all tokens are of priced calls: those of others cannot be taken from a sum."""
    return not row["unpriced_requests"] and row["output_tokens"] == row["priced_output_tokens"]


def _dimension(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, asked: AskedCost, pair: Pair, totals: list[dict[str, Any]], name: str
) -> DimensionTold:
    from ultimate_lib.analytics import drivers  # noqa: PLC0415 - not before the first question

    by = (name,) if name == "model" else (name, "model")
    before, after = _sides(bench, caller, asked, pair, totals, by)
    found = drivers.movers(before, after)
    change = sum(one.cost for one in after.values()) - sum(one.cost for one in before.values())
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
        tokens_or_price_nano_usd=found.either,
    )


def _rows(answers: list[Answer]) -> int | None:
    known = [one.missing_rows for one in answers]
    return None if None in known else sum(one for one in known if one is not None)


def _notes(pair: Pair, before: Level, after: Level, whole: Effects, *, rest: bool) -> list[str]:
    notes = []
    if pair.cut:
        notes.append(
            f"The later span is not over: it counts until {pair.after[1]:%Y-%m-%d %H:%M}, and the span before until "
            f"{pair.before[1]:%Y-%m-%d %H:%M}."
        )
    if whole.tokens is None:
        notes.append(
            "Tokens of calls without a known cost, or on a subscription, are among those of priced calls of the same "
            "model: longer calls and dearer tokens are one part here."
        )
    if rest:
        notes.append(
            "There are more than 10,000 models: those of the least spend are told as one, apart from the others."
        )
    if before.unpriced_requests or after.unpriced_requests:
        notes.append(
            f"The cost of {before.unpriced_requests:,} calls before and {after.unpriced_requests:,} after is not "
            "known; they are in none of these amounts."
        )
    lengths = [to_us(end) - to_us(start) for start, end in pair[:2]]
    if abs(lengths[0] - lengths[1]) > 3 * 3_600_000_000:  # clocks change by less
        days = [f"{length / 86_400_000_000:.1f}" for length in lengths]
        notes.append(f"The spans are not equally long, {days[0]} and {days[1]} days: that is part of the volume.")
    if not before.requests:
        notes.append("No call lies in the span before: all of it is new.")
    if not after.requests:
        notes.append("No call lies in the later span: all of it has gone.")
    return notes

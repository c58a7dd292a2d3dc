"""One call, described: whether it is unlike those before it of its key and model, and what the guard would do."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from proxy_server import prices
from ultimate_lib.access.behind import behind
from ultimate_lib.baseline import ANOMALOUS, FEWEST, expected_high
from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Invalid, NotEnoughData, NotFound, Unavailable
from ultimate_lib.guard import events, known
from ultimate_lib.guard.events import EventLog, Fold
from ultimate_lib.guard.known import Known
from ultimate_lib.guard.rule import Rule, ripe_at
from ultimate_lib.guard.verdict import Described, scored, verdict
from ultimate_lib.pricing import PriceBook
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from proxy_server.control.answers import Caller
    from ultimate_lib.guard.known import Baselines
    from ultimate_lib.guard.rule import Standing
    from ultimate_lib.lake import Lake
    from ultimate_lib.workbench import Workbench

_MINUTE_US = 60_000_000
_Count = Annotated[int, Meta(ge=0, le=10**12)]


class AskedCall(Struct, kw_only=True):
    """A call that was made or is to be. It needs a cost, or the input tokens; both tokens give the cost."""

    model: Annotated[str, Meta(min_length=1, max_length=200, description="As calls are sent to the provider.")]
    key_id: Annotated[str, Meta(max_length=200, description="Default: the key that asks.")] = ""
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cost_usd: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    provider: Annotated[str, Meta(max_length=200, description="Whose price holds, where sellers differ.")] = ""


class CallJudged(Struct, kw_only=True):
    """What is said of it. `measure` is what of it is most unusual; `value` and `expected_high` are in its unit."""

    is_anomaly: bool
    action: Literal["none", "warn", "block"]  # what the guard would do
    mode: Literal["off", "observe", "warn", "block"]  # what is done about this key's unusual calls
    measure: Literal["cost_usd", "input_tokens"]
    value: float
    expected_high: float  # from which on a value is anomalous
    score: float  # -log10 of the probability of a value as high
    limit: float  # from which on a score is anomalous
    reason: str
    key_id: str
    model: str
    cost_usd: float | None  # as told, or by the price list; null: not known
    baseline_calls: int  # learnt from
    baseline_source: Literal["guard", "lake"]  # the guard's own, or learnt for this question


def judged(bench: Workbench, caller: Caller, told: AskedCall) -> CallJudged:
    """Judge a call; nothing is recorded. Raises `Invalid`, `NotFound`, `NotEnoughData`, `Unavailable`, `Corrupt`."""
    who = caller.known
    named = told.key_id or who.key_id
    if named is None:
        raise Invalid("No key is named.", hint="Give key_id, or ask with a key.", code="parameter_missing")
    key = behind(bench.store, who, named)
    call = _described(bench, told)
    rule, now_us = Rule.of(bench.settings.guard), bench.clock.now_us()
    usual, source = _usual(bench, rule, key.key_id, told.model, now_us)
    found = scored(usual, call)
    if found is None:
        raise _too_few(usual, call)
    guard = bench.settings.guard
    mode = (key.principal.guard if key.principal is not None else None) or guard.action if guard.enabled else "off"
    standing = _standing(bench, rule, key.key_id, told.model)
    said = verdict(rule, usual, call, found, mode, standing, now_us)
    return CallJudged(
        is_anomaly=found.anomalous, action=said.action, mode=mode, measure=found.measure, value=found.value,  # type: ignore[arg-type] # one of the four
        expected_high=found.expected_high, score=round(found.score, 3), limit=ANOMALOUS, reason=said.reason,
        key_id=key.key_id, model=told.model, cost_usd=call.cost_usd, baseline_calls=found.calls,
        baseline_source=source,
    )  # fmt: skip


def _described(bench: Workbench, told: AskedCall) -> Described:
    """Return the call with its cost, so far as the price list tells it. Raises `Invalid`."""
    if told.cost_usd is None and told.input_tokens is None:
        raise Invalid(
            "The call has neither a cost nor input tokens.",
            hint="Give cost_usd, or input_tokens (with output_tokens the cost is worked out).",
            code="parameter_missing",
        )
    cost = told.cost_usd
    if cost is None and told.output_tokens is not None:
        cost = _priced(bench, told, Usage(input_tokens=told.input_tokens, output_tokens=told.output_tokens))
    alone = None
    if told.input_tokens is not None:
        alone = _priced(bench, told, Usage(input_tokens=told.input_tokens, output_tokens=0), needed=False)
    return Described(cost, told.input_tokens, alone)


def _priced(bench: Workbench, told: AskedCall, usage: Usage, *, needed: bool = True) -> float | None:
    """Return dollars; None where no price is known. Raises `Invalid` where sellers differ and it is `needed`."""
    book = _book(bench.settings.run_dir)
    sellers = book.sellers(told.model)
    if told.provider:
        if told.provider not in sellers:
            raise Invalid(
                f"The price list has no '{told.model[:60]}' of '{told.provider[:60]}'.",
                hint=f"Sold by: {', '.join(sellers) or 'nobody'}. Or give cost_usd.",
                code="provider",
            )
        sellers = [told.provider]
    at_us = bench.clock.now_us()
    costs = {cost.total for one in sellers if (cost := book.cost(one, told.model, usage, at_us)) is not None}
    if len(costs) > 1 and needed:
        raise Invalid(
            f"'{told.model[:60]}' costs differently at {', '.join(sellers)}.",
            hint="Name one as provider, or give cost_usd.",
            code="provider",
        )
    return costs.pop() / 1e9 if len(costs) == 1 else None


@lru_cache(maxsize=2)
def _book(run_dir: Path) -> PriceBook:
    return PriceBook(prices.whole_table(run_dir))


# -- what is usual -------------------------------------------------------------------------------------------------


def _usual(
    bench: Workbench, rule: Rule, key_id: str, model: str, now_us: int
) -> tuple[Known, Literal["guard", "lake"]]:
    """Return what the guard knows of a key and model, else the lake. Raises `NotFound`, `NotEnoughData`."""
    kept = _kept(bench.settings.run_dir)
    if kept is not None and (found := kept.known.get((key_id, model))) is not None:
        return found, "guard"
    models = _learnt(bench.lake, rule, key_id, now_us // _MINUTE_US)
    if model in models:
        return models[model], "lake"
    if model not in bench.settings.models and not _book(bench.settings.run_dir).sellers(model):
        called = ", ".join(sorted(models)[:10]) or "none"
        raise NotFound(
            f"There is no model '{model[:60]}'.", hint=f"This key has called: {called}.", code="model_unknown"
        )
    raise NotEnoughData(
        f"There are 0 calls of this key and model in the last {_days(rule)} days; {FEWEST} are needed.",
        hint="Make calls with it, or name another key_id or model.",
    )


def _too_few(usual: Known, call: Described) -> NotEnoughData:
    what = "a known cost" if call.cost_usd is not None else "known input"
    count = f"{usual.calls} calls" if call.cost_usd is not None else f"fewer than {FEWEST} calls"
    return NotEnoughData(
        f"There are {count} with {what} of this key and model; {FEWEST} are needed.",
        hint="Ask again when there are more.",
    )


def _kept(run_dir: Path) -> Baselines | None:
    """Return the guard's own file, read when it has changed. Raises `Corrupt`, `Unavailable`."""
    try:
        seen = known.path(run_dir).stat()
        return _read(run_dir, (seen.st_ino, seen.st_mtime_ns, seen.st_size))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(
            f"What is usual cannot be read ({error.strerror}).",
            hint="Look at the run folder's disk.",
            code="baselines",
        ) from error


@lru_cache(maxsize=1)
def _read(run_dir: Path, _mark: tuple[int, int, int]) -> Baselines | None:
    return known.read(run_dir)


@lru_cache(maxsize=64)
def _learnt(lake: Lake, rule: Rule, key_id: str, minute: int) -> dict[str, Known]:
    """Return what the lake tells of a key's models, learnt once a minute at most."""
    from ultimate_lib.lake.baselines import baselines_of  # noqa: PLC0415 - the lake's libraries load when first asked

    until = to_datetime((minute + 1) * _MINUTE_US)
    found = baselines_of(lake, until, where={"key": (key_id,)}, enough=rule.after_calls, days=_days(rule))
    return {
        one.model: Known(
            key_id=key_id, model=one.model, calls=one.priced_calls, first_us=one.first_us, last_us=one.last_us,
            enough_us=one.enough_us, ripe_us=ripe_at(rule, one.first_us, one.enough_us), cost=one.cost,
            usual_usd=expected_high(one.cost) if one.cost is not None else None, tokens=one.tokens,
            usual_tokens=expected_high(one.tokens) if one.tokens is not None else None,
        )
        for one in found
    }  # fmt: skip


def _days(rule: Rule) -> int:
    from ultimate_lib.lake.baselines import DAYS  # noqa: PLC0415 - the lake's libraries load when first asked

    return max(DAYS, rule.after_days + 1)


def _standing(bench: Workbench, rule: Rule, key_id: str, model: str) -> Standing:
    """Return the anomalies that count and the cool-down of a key and model. Raises `Unavailable`."""
    try:
        _, told = EventLog(bench.settings.run_dir).read()
    except OSError as error:
        raise Unavailable(
            f"The guard's log cannot be read ({error.strerror}).", hint="Look at the run folder's disk.", code="guard"
        ) from error
    fold = Fold()
    for one in told:
        if (one.key_id, one.model) == (key_id, model):
            fold = events.fold(rule, fold, one, bench.clock.now_us())
    return fold.standing

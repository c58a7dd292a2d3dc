"""From evidence to advice: each kind looks, its calls are counted, savings get intervals, overlaps are told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib.analytics.advice import words
from ultimate_lib.analytics.advice.evidence import MONTH_DAYS
from ultimate_lib.analytics.advice.told import NANO, Advice, Behind, Draft, Kind
from ultimate_lib.errors import Invalid
from ultimate_lib.metrics import DIMENSIONS
from ultimate_lib.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ultimate_lib.analytics.advice.evidence import Evidence
    from ultimate_lib.analytics.advice.told import Looked

KINDS: Registry[Callable[[Evidence], Looked]] = Registry(
    "recommendation", "ultimate_lib.analytics.advice.kinds", "find"
)
UNSURE = ("runaway_loops",)  # nobody but the user knows whether the calls were wanted
WITHOUT_CALLS = ("idle_keys", "misfit_budgets")
FEWEST_CALLS = 50
FEWEST_DAYS = 1.0
MOST = 100
_SAMPLE = 20
_WORTH_USD = 0.01  # in 30 days: less is not told


class Found(NamedTuple):
    """Advice, the largest saving first, and how each kind was looked for.

    `total_usd` is what all of it saves in 30 days if no call is counted twice; `surely_usd` if overlaps are whole,
    and without runaway loops.
    """

    advice: list[Advice]
    kinds: list[Kind]
    calls: int
    days: float
    total_usd: float | None
    surely_usd: float | None
    left_out: int  # beyond the limit
    few: str  # why no kind can judge calls; empty: they can


def advise(evidence: Evidence, kinds: Sequence[str] = (), limit: int = MOST) -> Found:
    """Return what would save money or risk. Raises `Invalid` for a kind that does not exist."""
    known = KINDS.names()
    unknown = [name for name in kinds if name not in known]
    if unknown:
        raise Invalid(
            f"There is no advice of the kind '{unknown[0][:60]}'.", hint=f"One of: {', '.join(known)}.", code="kind"
        )
    told: list[Kind] = []
    made: list[tuple[Advice, Draft]] = []
    few = _too_few(evidence)
    for name in kinds or known:
        if few and name not in WITHOUT_CALLS:
            told.append(Kind(kind=name, state="too_few", looked_at=evidence.total, found=0, reason=few))
            continue
        looked = KINDS.get(name)(evidence)
        clear = [draft for draft in looked.found if draft.blocks is None or evidence.pays(draft.blocks)]
        drafts = [(_advice(evidence, name, draft), draft) for draft in clear]
        drafts = [one for one in drafts if one[0].saving_usd is None or one[0].saving_usd >= _WORTH_USD]
        made += drafts
        told.append(_kind(evidence, name, looked, len(drafts)))
    made.sort(key=lambda one: (-(one[0].saving_usd or 0.0), one[0].kind, one[0].id))
    _overlaps([one for one, _ in made])
    kept = made[:limit]
    _count(evidence, kept)
    savings = [one for one, _ in made if one.saving_usd is not None]
    return Found(
        [one for one, _ in kept],
        told,
        evidence.total,
        evidence.days,
        sum(one.saving_usd or 0.0 for one in savings) if savings else None,
        _surely([one for one in savings if one.kind not in UNSURE]) if savings else None,
        len(made) - len(kept),
        few,
    )


def _too_few(evidence: Evidence) -> str:
    if evidence.total < FEWEST_CALLS:
        return f"There are {words.calls(evidence.total)}; {FEWEST_CALLS} are needed."
    if evidence.days < FEWEST_DAYS:
        return f"The calls span {evidence.days * 24:.1f} hours; {FEWEST_DAYS * 24:.0f} are needed to tell a month."
    return ""


def _kind(evidence: Evidence, name: str, looked: Looked, found: int) -> Kind:
    if found:
        state, reason = "found", ""
    elif looked.few and looked.few == evidence.why_not:
        state, reason = "not_asked", looked.few
    elif looked.few:
        state, reason = "too_few", looked.few
    else:
        state, reason = "nothing", looked.why
    return Kind(kind=name, state=state, looked_at=looked.at, found=found, reason=reason)


def _advice(evidence: Evidence, kind: str, draft: Draft) -> Advice:
    saving = lower = upper = in_span = None
    interval = ""
    title = draft.title
    if draft.blocks is not None:
        paid = draft.paid_nano or 0.0
        in_span = float(draft.blocks.sum()) / NANO
        assert in_span <= paid / NANO * (1 + 1e-9)  # noqa: S101 - no saving exceeds what was paid
        saving, lower, upper = (one / NANO for one in evidence.month(draft.blocks))
        unit = "days" if evidence.block.days else "hours"
        interval = (
            f"95 %, of 2,000 months drawn from the {evidence.blocks:,} {unit} since the first call; "
            f"over the {evidence.days:.1f} days themselves it is {words.usd(max(in_span, 0.0))}."
        )
        title = f"{title}: {words.usd(max(saving, 0.0))} less in {MONTH_DAYS} days"
    about = f"{kind}|{sorted(draft.who.items(), key=str)}|{sorted(draft.where.items(), key=str)}"
    return Advice(
        id=f"{kind}-{hashlib.blake2b(about.encode(), digest_size=5).hexdigest()}",
        kind=kind,
        title=title,
        saving_usd=saving,
        lower_usd=lower,
        upper_usd=upper,
        saved_in_span_usd=in_span,
        paid_in_span_usd=draft.paid_nano / NANO if draft.paid_nano is not None else None,
        held_usd=draft.held_usd,
        calls=None,
        who={name: value for name, value in draft.who.items() if value is not None},
        how=draft.how,
        snippet=draft.snippet,
        assumptions=draft.assumptions,
        interval=interval,
        since=max(evidence.since, evidence.first) if draft.about_calls else evidence.since,
        until=evidence.until,
        may_overlap=[],
    )


# -- the calls behind ---------------------------------------------------------------------------------------------


def _count(evidence: Evidence, kept: list[tuple[Advice, Draft]]) -> None:
    """Count the calls that each advice's filters show, and take some of those that it would change."""
    asked = [(advice, draft) for advice, draft in kept if draft.about_calls]
    if not asked:
        return
    plans = []
    for place, (_, draft) in enumerate(asked):
        shown = pl.all_horizontal(pl.lit(value=True), *_shows(draft)).fill_null(value=False)
        wanted = shown if draft.condition is None else shown & draft.condition.fill_null(value=False)
        plans += [shown.sum().alias(f"number{place}"), _some(wanted).alias(f"some{place}")]
    told = evidence.calls.select(plans).collect(engine="streaming").row(0, named=True)  # one pass for all
    for place, (advice, draft) in enumerate(asked):
        advice.calls = Behind(
            count=int(told[f"number{place}"]),
            affected=draft.affected,
            share=draft.affected / evidence.total,
            sample_ids=sorted(told[f"some{place}"]),
            filters=[f"{name}:{value or ''}" for name, values in draft.where.items() for value in values],
        )


def _some(wanted: pl.Expr) -> pl.Expr:
    return pl.col("call_id").filter(wanted).head(_SAMPLE).implode()


def _shows(draft: Draft) -> list[pl.Expr]:
    return [
        DIMENSIONS[name].value.is_in(pl.Series(values, dtype=pl.String).implode(), nulls_equal=True)
        for name, values in draft.where.items()
    ]


# -- what may be counted twice -------------------------------------------------------------------------------------


def _overlaps(advice: list[Advice]) -> None:
    savers = [one for one in advice if one.saving_usd is not None]
    for one in savers:
        one.may_overlap = [other.id for other in savers if other is not one and _meets(one.who, other.who)]


def _meets(one: dict[str, str | None], other: dict[str, str | None]) -> bool:
    return all(
        one[name] == other[name]
        for name in ("key", "provider", "model", "app", "project")
        if name in one and name in other
    )


def _surely(savings: list[Advice]) -> float:
    """Return the largest saving of each cluster of advice that may count the same calls, summed."""
    left, total = {one.id: one for one in savings}, 0.0
    while left:
        cluster, edge = [], [next(iter(left))]
        while edge:
            one = left.pop(edge.pop(), None)
            if one is not None:
                cluster.append(one)
                edge += one.may_overlap
        total += max(one.saving_usd or 0.0 for one in cluster)
    return total

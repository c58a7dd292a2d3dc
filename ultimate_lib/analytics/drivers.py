"""Why spend changed between two spans: more calls, other models, longer calls, dearer tokens; exact in sum.

Spend is calls x the share of each model x tokens a call x cost of a token. Each factor's part in the change is its
Shapley value: what the change of this factor alone adds, averaged over all orders in which the factors can change.
Divisia's logarithms were no choice: a model that is new or gone has a zero in one span. Nor was changing one factor
after the other: the answer would hang on their order.

Shapley: "A value for n-person games" (1953); for changes of a product, Shorrocks: "Decomposition procedures for
distributional analysis", J. Econ. Inequality 11 (2013), section 2.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Name: TypeAlias = str | None
REST = "\0rest"
"""Name of all groups together that were too many to tell apart: no mover, but part of every sum."""
_FACTORS = 4


class Used(NamedTuple):
    """What calls of one model used in a span: those with a known cost, the mean tokens of a call, nano-dollars."""

    calls: int
    tokens: float | None  # None: those of calls without a known cost are among them, and nobody knows which
    cost: int


class Effects(NamedTuple):
    """Parts of a change in nano-dollars; they sum to it to the last one."""

    volume: int  # more calls or fewer, of the same models
    mix: int  # the calls went to other models
    tokens: int | None  # a call of the same model has more tokens or fewer
    price: int | None  # a token of the same model costs something else: prices, cache, more or less output
    either: int = 0  # both, where they cannot be told apart: the two are None then


class Mover(NamedTuple):
    """One value of a dimension: its spend before and after, and why that changed."""

    value: Name
    before: int
    after: int
    effects: Effects

    @property
    def change(self) -> int:
        """The change in nano-dollars."""
        return self.after - self.before


def effects(before: Mapping[Name, Used], after: Mapping[Name, Used]) -> Effects:
    """Return why the spend of some calls changed; both by model, priced calls alone."""
    old, new = _factors(before, after), _factors(after, before)
    spend = {chosen: _spend(old, new, chosen) for chosen in product((False, True), repeat=_FACTORS)}
    parts = [0.0] * _FACTORS
    for chosen, value in spend.items():
        others = sum(chosen)
        for factor in range(_FACTORS):
            if not chosen[factor]:
                with_it = (*chosen[:factor], True, *chosen[factor + 1 :])
                heed = math.factorial(others) * math.factorial(_FACTORS - 1 - others) / math.factorial(_FACTORS)
                parts[factor] += heed * (spend[with_it] - value)
    volume, mix, tokens, price = _rounded(parts, _cost(after) - _cost(before))
    both = [model for model in before if model in after and before[model].calls and after[model].calls]
    if any(side[model].tokens is None for model in both for side in (before, after)):
        return Effects(volume, mix, None, None, tokens + price)
    return Effects(volume, mix, tokens, price)


def movers(before: Mapping[tuple[Name, Name], Used], after: Mapping[tuple[Name, Name], Used]) -> list[Mover]:
    """Return every value of a dimension whose spend changed, the largest change first; both by (value, model)."""
    groups: dict[Name, tuple[dict[Name, Used], dict[Name, Used]]] = {}
    for side, told in enumerate((before, after)):
        for (value, model), used in told.items():
            groups.setdefault(value, ({}, {}))[side][model] = used
    groups.pop(REST, None)
    found = [Mover(value, _cost(old), _cost(new), effects(old, new)) for value, (old, new) in groups.items()]
    return sorted((one for one in found if one.change), key=lambda one: (-abs(one.change), one.value or ""))


def _cost(told: Mapping[Name, Used]) -> int:
    return sum(one.cost for one in told.values())


def _factors(own: Mapping[Name, Used], other: Mapping[Name, Used]) -> dict[Name, tuple[float, ...]]:
    """Return calls, share, tokens a call and cost of a token by model.

    What a span cannot tell is taken to be as in the other, so that it makes no difference: a model that is new has
    its tokens and prices from the start, and its whole spend is one of the mix.
    """
    calls = sum(one.calls for one in own.values())
    shares = own if calls else other
    whole = sum(one.calls for one in shares.values())
    found: dict[Name, tuple[float, ...]] = {}
    for model in {*own, *other}:
        counts = shares[model].calls if model in shares else 0
        share = counts / whole if whole else 0.0
        used = own[model] if model in own and own[model].calls else other.get(model)
        if used is None or not used.calls:
            found[model] = (calls, 0.0, 0.0, 0.0)
            continue
        both = [one[model].tokens or 0.0 for one in (own, other) if model in one and one[model].calls]
        tokens = (used.tokens or 0.0) if min(both) > 0 else 1.0
        found[model] = (calls, share, tokens, used.cost / used.calls / tokens)
    return found


def _spend(
    old: Mapping[Name, tuple[float, ...]], new: Mapping[Name, tuple[float, ...]], chosen: tuple[bool, ...]
) -> float:
    """Return the spend with those factors new that are chosen."""
    return math.fsum(
        math.prod((new if is_new else old)[model][factor] for factor, is_new in enumerate(chosen)) for model in old
    )


def _rounded(parts: list[float], whole: int) -> list[int]:
    """Return whole numbers next to the parts, that sum to `whole`: what is left goes where it is missed most."""
    found = [math.floor(part) for part in parts]
    order = sorted(range(len(parts)), key=lambda at: found[at] - parts[at])
    left = whole - sum(found)
    for at in range(abs(left)):
        found[order[at % len(order)]] += 1 if left > 0 else -1
    return found

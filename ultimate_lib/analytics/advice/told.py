"""What an advice says, and what a kind hands over: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

NANO = 1e9


class Behind(msgspec.Struct, kw_only=True):
    """The calls behind an advice. `filters` (dimension:value) show exactly `count` calls of the span."""

    count: int
    affected: int  # of them, those whose cost the advice would change
    share: float  # affected, of all calls of the span
    sample_ids: list[str]
    filters: list[str]


class Advice(msgspec.Struct, kw_only=True):
    """One advice. Dollars are per 30 days unless `in_span`; null: no saving can be computed, or no interval."""

    id: str
    kind: str
    title: str
    saving_usd: float | None
    lower_usd: float | None  # 95 % lie between these
    upper_usd: float | None
    saved_in_span_usd: float | None  # what the calls of the span would have cost less
    paid_in_span_usd: float | None  # what they did cost
    held_usd: float | None  # that a budget holds of one call beyond what any such call has used
    calls: Behind | None  # null: it is about a key or a budget
    who: dict[str, str | None]
    how: list[str]
    snippet: str | None
    assumptions: list[str]
    interval: str
    since: datetime
    until: datetime
    may_overlap: list[str]  # ids of advice that may count the same calls: their savings do not add up


class Kind(msgspec.Struct, kw_only=True):
    """How one kind of advice was looked for: `too_few` and `not_asked` say why in `reason`."""

    kind: str
    state: str  # found | nothing | too_few | not_asked
    looked_at: int | None  # calls, keys or budgets that it is about
    found: int
    reason: str


@dataclass(kw_only=True)
class Draft:
    """An advice before its calls are counted. `blocks` is what each block of the span would have cost less, nano."""

    title: str  # its saving is added
    where: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    affected: int = 0
    condition: pl.Expr | None = None  # the affected among the calls that `where` leaves
    blocks: NDArray[np.float64] | None = None
    paid_nano: float | None = None
    held_usd: float | None = None
    about_calls: bool = True
    who: Mapping[str, str | None] = field(default_factory=dict)
    how: list[str] = field(default_factory=list)
    snippet: str | None = None
    assumptions: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Looked:
    """What a kind found among so many calls, keys or budgets.

    `few` says why it cannot judge, `why` why there is nothing where that is not plain.
    """

    at: int
    found: list[Draft] = field(default_factory=list)
    few: str = ""
    why: str = ""

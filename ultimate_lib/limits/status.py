"""How budgets stand now: the gateways' own word, or without one what store and journal say."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.clock import to_datetime
from ultimate_lib.limits import spent
from ultimate_lib.limits.calendar import span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ultimate_lib.clock import Clock
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store


_FORGET_S = 60.0


class Standing(msgspec.Struct, frozen=True):
    """One budget as one gateway sees it."""

    id: str
    start_us: int
    spent: int
    held: int


class BudgetState(msgspec.Struct, kw_only=True):
    """One budget with what is spent and held of it in its present period; null is unknown.

    `amount` is null where who asks may see how much of the budget is used and nothing else.
    """

    id: str
    name: str
    subject: str
    subject_id: str | None
    unit: str
    amount: int | None
    period: str
    period_start: datetime | None  # null: it has no beginning
    period_end: datetime | None  # null: it has no end
    hard: bool
    enabled: bool
    spent: int | None
    held: int | None
    left: int | None
    used_ratio: float | None


class Journaled:
    """What store and journal tell of budgets, added up from look to look, so that each line is read once.

    Several threads may use one. After a pause it begins anew: the journal keeps its segments for minutes.
    """

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._of = (settings, store, clock, "")
        self._monotonic = clock.monotonic
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._seen = spent.Elsewhere(*self._of)
        self._spent: dict[tuple[str, int], int] = {}

    def look(self, budgets: list[Budget]) -> list[Standing]:
        """Return how these budgets stand in their present periods; those of which nobody knows are left out.

        The periods are those of the instant after reading: what is read is kept for them, and for later ones.
        """
        with self._lock:
            if self._monotonic() - self._looked > _FORGET_S or self._went_back(self._starts(budgets)):
                self._seen = spent.Elsewhere(*self._of)
                self._spent = {}
            seen = self._seen.look(budgets)
            self._looked = self._monotonic()
            starts = {name: at for name, at in self._starts(budgets).items() if name not in seen.late}
            found: dict[tuple[str, int], int] = dict.fromkeys(starts.items(), 0)
            before = [item for item in self._spent.items() if item[0][0] not in seen.begun]
            for (name, at), value in (*before, *seen.spent.items()):
                if name in starts and at >= starts[name]:
                    found[name, at] = found.get((name, at), 0) + value
            self._spent = found
            return [Standing(*key, found[key], seen.held.get(key, 0)) for key in starts.items()]

    def _starts(self, budgets: list[Budget]) -> dict[str, int]:
        settings, _, clock, _ = self._of
        now_us = clock.now_us()
        return {one.id: span(one.period, now_us, settings.billing).start_us for one in budgets}

    def _went_back(self, starts: dict[str, int]) -> bool:
        """Say whether the clock is back in a period that was dropped when a later one began."""
        return any(at > starts.get(name, at) and (name, starts[name]) not in self._spent for name, at in self._spent)


def status(
    store: Store, clock: Clock, settings: Settings, standings: Iterable[Standing], known: Journaled | None = None
) -> list[BudgetState]:
    """Return every budget's state. `standings` are those of the gateways that have spoken within the last seconds.

    With one gateway its word is exact to the second. Otherwise the sums of store and journal tell what is spent; what
    is held are the journal's open intents. `known` has looked at them before; None: they are read whole.
    """
    limits = spent.read(store)
    assert limits is not None  # noqa: S101 - no mark is given that could be the same
    now_us = clock.now_us()
    told: dict[tuple[str, int], Standing] = {}
    if settings.server.gateways == 1:
        told = {(one.id, one.start_us): one for one in standings}
    starts = {one.id: span(one.period, now_us, settings.billing) for one in limits.budgets}
    silent = [one for one in limits.budgets if (one.id, starts[one.id].start_us) not in told]
    if silent:
        known = known or Journaled(store, clock, settings)
        periods = {one.id: one.period for one in silent}
        for standing in known.look(silent):  # its period may have begun since
            told[standing.id, standing.start_us] = standing
            starts[standing.id] = span(periods[standing.id], standing.start_us, settings.billing)
    found = []
    for one in limits.budgets:
        period = starts[one.id]
        now = told.get((one.id, period.start_us))
        found.append(
            BudgetState(
                id=one.id,
                name=one.name,
                subject=one.subject,
                subject_id=one.subject_id or None,
                unit=one.unit,
                amount=one.amount,
                period=one.period,
                period_start=None if one.period == "total" else to_datetime(period.start_us),
                period_end=period.end,
                hard=one.hard,
                enabled=one.enabled,
                spent=now.spent if now is not None else None,
                held=now.held if now is not None else None,
                left=one.amount - now.spent - now.held if now is not None else None,
                used_ratio=now.spent / one.amount if now is not None else None,
            )
        )
    return found

"""Where each budget will end, reckoned beside: a page or a status is told what is there and waits for nothing.

One thread at a time forecasts for the budgets that somebody has looked at; what it finds is kept for ten minutes, or
until a twentieth of the budget has been spent since. What failed is tried again after half a minute.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from proxy_server.control.api import limits
from proxy_server.control.api.predictive import (
    BudgetOutlook,
    budget_outlook,
    history_where,
    made_of,
    steps_until,
)
from proxy_server.control.api.span import zone_of
from proxy_server.control.api.steps import later_of
from ultimate_lib.errors import NotEnoughData, UltimateError
from ultimate_lib.limits.status import BudgetState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.store import Store
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_KEPT_S, _KEPT_FAILED_S = 600.0, 30.0
_MOVED = 0.05  # of the amount
_MOST_KEPT = 2000
_METRICS = {"nano_usd": "cost_usd", "tokens": "total_tokens"}


class MarkedState(BudgetState, kw_only=True):
    """A budget as it stands, and where it will end; null: too little history, not reckoned yet, or not to be told.

    With `outlook_failed` it could not be reckoned just now, whatever its history.
    """

    outlook: BudgetOutlook | None
    outlook_failed: bool


class States(Struct):
    """Budgets with what is spent and held of them, and where they will end."""

    budgets: list[MarkedState]


class Marks(NamedTuple):
    """What is known of where budgets end, by id; `pending` are those of which nothing is known yet."""

    outlooks: dict[str, BudgetOutlook]
    pending: set[str]
    failed: set[str]  # could not be reckoned, which is not to have too little history


class _Kept(NamedTuple):
    at_s: float
    spent: int
    outlook: BudgetOutlook | None
    failed: bool


class _Reckoning:
    """What has been reckoned over one store, and the thread that reckons while there is something to do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: dict[tuple[object, ...], _Kept] = {}
        self.wanted: dict[tuple[object, ...], BudgetState] = {}
        self.works = False


_guard = threading.Lock()
_of: WeakKeyDictionary[Store, _Reckoning] = WeakKeyDictionary()


def budget_states(bench: Workbench, caller: Caller, _: Nothing) -> States:
    """Return how the budgets stand that concern the caller."""
    found = limits.states(bench, caller)
    told = marks(bench, found)
    return States(
        [
            MarkedState(
                **msgspec.structs.asdict(one), outlook=told.outlooks.get(one.id), outlook_failed=one.id in told.failed
            )
            for one in found
        ]
    )


def marks(bench: Workbench, states: Iterable[BudgetState]) -> Marks:
    """Return where budgets will end as far as it is known, and have the rest reckoned. Returns at once."""
    with _guard:
        mine = _of.setdefault(bench.store, _Reckoning())
    told: dict[str, BudgetOutlook] = {}
    pending: set[str] = set()
    failed: set[str] = set()
    now_s = bench.clock.monotonic()
    with mine.lock:
        for one in states:
            if not one.enabled or one.amount is None or one.spent is None:
                continue
            key = (one.id, one.amount, one.period_start)
            kept = mine.kept.get(key)
            if kept is not None and kept.outlook is not None:
                told[one.id] = kept.outlook
            if kept is not None and kept.failed:
                failed.add(one.id)
            moved = kept is not None and abs(one.spent - kept.spent) > _MOVED * one.amount
            if kept is None or moved or now_s - kept.at_s > (_KEPT_FAILED_S if kept.failed else _KEPT_S):
                mine.wanted[key] = one
                if kept is None:
                    pending.add(one.id)
        if mine.wanted and not mine.works:
            mine.works = True
            threading.Thread(target=_work, args=(bench, mine), name="budget-marks", daemon=True).start()
    return Marks(told, pending, failed)


def _work(bench: Workbench, mine: _Reckoning) -> None:
    """Reckon until nothing is wanted any more: the outermost frame of its thread."""
    while True:
        with mine.lock:
            if not mine.wanted:
                mine.works = False
                return
            key, one = next(iter(mine.wanted.items()))
        found, failed = None, True
        try:
            found = reckon(bench, one)
            failed = False
        except NotEnoughData:
            failed = False  # no mark is the answer
        except UltimateError as error:
            log.warning("Where the budget '%s' will end cannot be told now: %s", one.id, error)
        except Exception:
            log.exception("Where the budget '%s' will end cannot be told.", one.id)
        with mine.lock:
            mine.wanted.pop(key, None)
            mine.kept.pop(key, None)  # the newest last
            mine.kept[key] = _Kept(bench.clock.monotonic(), one.spent or 0, found, failed)
            while len(mine.kept) > _MOST_KEPT:
                mine.kept.pop(next(iter(mine.kept)))


def reckon(bench: Workbench, one: BudgetState) -> BudgetOutlook:
    """Return where a budget will end, by all calls that it counts. Raises `NotEnoughData`."""
    now = bench.clock.now().astimezone(zone_of(bench.settings.billing.time_zone))
    name, grain = _METRICS[one.unit], "hour" if one.period == "day" else "day"
    wanted: dict[str, tuple[str | None, ...]] = {} if one.subject == "global" else {one.subject: (one.subject_id,)}
    past = history_where(bench, wanted, name, grain, now)
    steps = steps_until(one, now, grain)
    made = made_of(past.values.tobytes(), past.tokens.tobytes(), steps, grain, name == "cost_usd")
    return budget_outlook(one, made, later_of(now, now.tzinfo, grain, steps), now)  # type: ignore[arg-type] # a ZoneInfo

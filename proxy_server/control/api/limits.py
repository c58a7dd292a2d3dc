"""Budgets and rate limits: who has settings:manage makes and changes them; everyone sees those of their own calls.

A budget of all calls tells what everyone spends. Who does not see everyone's calls is told only how much of it is
used, in whole percents.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from proxy_server import snapshot
from proxy_server.control.cursors import Cursor, Limit, decode, page
from proxy_server.prices import whole_table
from ultimate_lib.access import changes, keys, provider_keys
from ultimate_lib.errors import NotFound
from ultimate_lib.limits import edit
from ultimate_lib.limits.status import status
from ultimate_lib.pricing import PriceBook
from ultimate_lib.providers import configured
from ultimate_lib.store import identities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy_server.control.answers import Caller
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.limits.status import BudgetState
    from ultimate_lib.workbench import Workbench

_FRESH_US = 5_000_000
_Kind = TypeVar("_Kind", bound=Struct)
_KINDS = {"budgets": "budget", "rate_limits": "rate_limit"}

Subject = Annotated[str, Meta(description="global | key | user | team | project | tag")]
SubjectId = Annotated[str | None, Meta(description="A key's or user's id, a team's or project's name, name=value.")]
Amount = Annotated[int, Meta(description="Nano-dollars (1e-9 USD) or tokens.")]
Unpriced = Annotated[str | None, Meta(description="refuse | allow | price_as:<model>; null: billing.unpriced.")]


class NewBudget(Struct, kw_only=True):
    """What a budget shall be."""

    subject: Subject
    subject_id: SubjectId = None
    amount: Amount
    period: Annotated[str, Meta(description="day | week | month | total")]
    unit: Annotated[str, Meta(description="nano_usd | tokens")] = "nano_usd"
    name: str = ""
    hard: bool = False  # hard: a call that could exceed it is refused; soft: it only tells
    enabled: bool = True
    when_short: Annotated[str, Meta(description="refuse | clamp (less output)")] = "refuse"
    hold_wait_s: float | None = None  # null: limits.hold_wait_s
    unpriced: Unpriced = None


class BudgetChange(Struct, kw_only=True):
    """What of a budget shall change."""

    id: str
    name: str | UnsetType = UNSET
    amount: int | UnsetType = UNSET
    hard: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    when_short: str | UnsetType = UNSET
    hold_wait_s: float | UnsetType | None = UNSET
    unpriced: str | UnsetType | None = UNSET


class BudgetTold(Struct, kw_only=True):
    """A budget. `amount` is null for who may not see it: that of everyone, for who sees not everyone's calls."""

    id: str
    name: str
    subject: str
    subject_id: str | None
    unit: str
    amount: int | None
    period: str
    hard: bool
    enabled: bool
    when_short: str
    hold_wait_s: float | None
    unpriced: str | None
    created_at: datetime
    version: int


class NewRateLimit(Struct, kw_only=True):
    """What a rate limit shall be; at least one of the three."""

    subject: Annotated[str, Meta(description="global | key | user | team")]
    subject_id: SubjectId = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None  # calls at a time


class RateLimitChange(Struct, kw_only=True):
    """What of a rate limit shall change; null takes a limit away."""

    id: str
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    concurrent: int | UnsetType | None = UNSET


class RateLimitTold(Struct, kw_only=True):
    """A rate limit."""

    id: str
    subject: str
    subject_id: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None
    created_at: datetime
    version: int


class Pages(Struct, kw_only=True):
    """Which page of a list."""

    cursor: Cursor = ""
    limit: Limit = 100


class One(Struct):
    """Which one."""

    id: str


class Gone(Struct):
    """What was removed."""

    id: str


class Budgets(Struct):
    """A page of budgets."""

    budgets: list[BudgetTold]
    next: str | None


class RateLimits(Struct):
    """A page of rate limits."""

    rate_limits: list[RateLimitTold]
    next: str | None


def budgets(bench: Workbench, caller: Caller, told: Pages) -> Budgets:
    """Return the budgets that concern the caller, oldest first."""
    rows, following = _page(bench, caller, "budgets", told)
    return Budgets([_shown(caller, row) for row in rows], following)


def budget(bench: Workbench, caller: Caller, told: One) -> BudgetTold:
    """Return one budget. Raises `NotFound`, also for one that does not concern the caller."""
    return _shown(caller, _one(bench, caller, "budget", told.id))


def create_budget(bench: Workbench, caller: Caller, told: NewBudget) -> BudgetTold:
    """Make a budget; what its period has seen so far is read from the lake at once."""
    row = edit.create_budget(
        bench.store, bench.clock, bench.settings, caller.known.user_name, msgspec.structs.asdict(told),
        base=lambda made: _base(bench, made), prices=lambda: _prices(bench), address=caller.address,
    )  # fmt: skip
    return _told(row, BudgetTold)


def _base(bench: Workbench, made: Budget) -> Callable[[Any], object]:
    from ultimate_lib.limits import sums  # noqa: PLC0415 - loads polars, for whoever makes a budget alone

    (base,) = sums.from_lake(bench.lake, [made])
    return lambda connection: sums.begin(connection, base)


def _prices(bench: Workbench) -> PriceBook:
    """Return the prices that gateways go by: of the providers in force, the scripted one among them."""
    stored = provider_keys.read(bench.store, bench.master)
    inforce = configured(bench.settings, demo_url="http://localhost", stored=stored.key)
    sold = frozenset(one.price_id for one in inforce.values())
    return PriceBook(whole_table(bench.settings.run_dir).only(sold))


def change_budget(bench: Workbench, caller: Caller, told: BudgetChange) -> BudgetTold:
    """Change a budget; gateways go by it within seconds."""
    return _told(_change(bench, caller, "budget", told), BudgetTold)


def remove_budget(bench: Workbench, caller: Caller, told: One) -> Gone:
    """Remove a budget and its sums."""
    return _remove(bench, caller, "budget", told)


def states(bench: Workbench, caller: Caller) -> list[BudgetState]:
    """Return how the budgets stand that concern the caller: for pages too."""
    since = bench.clock.now_us() - _FRESH_US
    seen = [one for one in snapshot.read_all(bench.settings.run_dir, since_us=since) if one.owning]
    newest = max(seen, key=lambda one: one.at_us, default=None)  # one that was killed still lies there
    standings = newest.budgets if newest is not None else []
    found = status(bench.store, bench.clock, bench.settings, standings, bench.budgets_seen)
    sees = _sight(bench, caller)
    return [_veiled(caller, one) for one in found if sees(one.subject, one.subject_id)]


def rate_limits(bench: Workbench, caller: Caller, told: Pages) -> RateLimits:
    """Return the rate limits that concern the caller, oldest first."""
    rows, following = _page(bench, caller, "rate_limits", told)
    return RateLimits([_told(row, RateLimitTold) for row in rows], following)


def rate_limit(bench: Workbench, caller: Caller, told: One) -> RateLimitTold:
    """Return one rate limit. Raises `NotFound`, also for one that does not concern the caller."""
    return _told(_one(bench, caller, "rate_limit", told.id), RateLimitTold)


def create_rate_limit(bench: Workbench, caller: Caller, told: NewRateLimit) -> RateLimitTold:
    """Make a rate limit."""
    row = edit.create_rate_limit(
        bench.store, bench.clock, caller.known.user_name, msgspec.structs.asdict(told), address=caller.address
    )
    return _told(row, RateLimitTold)


def change_rate_limit(bench: Workbench, caller: Caller, told: RateLimitChange) -> RateLimitTold:
    """Change a rate limit; gateways go by it within seconds."""
    return _told(_change(bench, caller, "rate_limit", told), RateLimitTold)


def remove_rate_limit(bench: Workbench, caller: Caller, told: One) -> Gone:
    """Remove a rate limit."""
    return _remove(bench, caller, "rate_limit", told)


# -- what all of them do ----------------------------------------------------------------------------------------


def _sight(bench: Workbench, caller: Caller) -> Callable[[str, str | None], bool]:
    """Return what tells whether a limit's subject concerns the caller."""
    known = caller.known
    if "settings:manage" in known.permissions:
        return lambda _subject, _subject_id: True
    with bench.store.begin() as connection:
        own = {
            "key": keys.ids_of(connection, known),
            "user": {known.user_id},
            "team": {*identities.teams_of(connection, known.user_id), *([known.team] if known.team else [])},
        }
    return lambda subject, subject_id: subject == "global" or subject_id in own.get(subject, ())


def _sees_amounts(caller: Caller, subject: str) -> bool:
    return subject != "global" or caller.known.sees_all or "settings:manage" in caller.known.permissions


def _shown(caller: Caller, row: Mapping[str, Any]) -> BudgetTold:
    told = _told(row, BudgetTold)
    return told if _sees_amounts(caller, told.subject) else msgspec.structs.replace(told, amount=None)


def _veiled(caller: Caller, one: BudgetState) -> BudgetState:
    if _sees_amounts(caller, one.subject):
        return one
    ratio = None if one.used_ratio is None else math.floor(one.used_ratio * 100) / 100
    return msgspec.structs.replace(one, amount=None, spent=None, held=None, left=None, used_ratio=ratio)


def _page(
    bench: Workbench, caller: Caller, plural: str, told: Pages
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    sees = _sight(bench, caller)
    after = decode(told.cursor, plural, tuple[str, str])
    rows = [row for row in edit.listed(bench.store, _KINDS[plural]) if sees(row["subject"], row["subject_id"])]
    rows = [row for row in rows if after is None or _place(row) > tuple(after)]
    return page(rows[: told.limit + 1], told.limit, _place, plural)


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["created_at"].isoformat(timespec="microseconds"), row["id"]


def _one(bench: Workbench, caller: Caller, kind: str, row_id: str) -> dict[str, Any]:
    row = edit.one(bench.store, kind, row_id)
    if not _sight(bench, caller)(row["subject"], row["subject_id"]):
        raise NotFound(f"There is no {kind.replace('_', ' ')} '{row_id}'.", code=f"{kind}_unknown")
    return row


def _change(bench: Workbench, caller: Caller, kind: str, told: BudgetChange | RateLimitChange) -> dict[str, Any]:
    values = {name: value for name, value in msgspec.structs.asdict(told).items() if value is not UNSET}
    row_id = values.pop("id")
    return edit.change(
        bench.store, bench.clock, bench.settings, caller.known.user_name, kind, row_id, values,
        expect=_expected(caller), prices=lambda: _prices(bench), address=caller.address,
    )  # fmt: skip


def _remove(bench: Workbench, caller: Caller, kind: str, told: One) -> Gone:
    edit.remove(
        bench.store, bench.clock, caller.known.user_name, kind, told.id, expect=_expected(caller),
        address=caller.address,
    )  # fmt: skip
    return Gone(told.id)


def _expected(caller: Caller) -> Callable[[Mapping[str, Any]], None]:
    """Return what refuses a row whose version is not the one that the request's If-Match names."""
    return lambda row: changes.expect(caller.version, row)


def _told(row: Mapping[str, Any], kind: type[_Kind]) -> _Kind:
    values = {name: row[name] for name in kind.__struct_fields__}
    return kind(**{**values, "subject_id": values["subject_id"] or None})

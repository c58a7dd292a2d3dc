"""Keys and budgets as recommendations are told of them: those that the caller may see, and how they are used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from proxy_server.control.api import limits
from proxy_server.control.api.providers import offered_now
from proxy_server.control.api.span import zone_of
from proxy_server.control.api.steps import floor
from ultimate_lib.access import keys, views
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy_server.control.answers import Caller
    from ultimate_lib.limits.status import BudgetState
    from ultimate_lib.workbench import Workbench

    Where = Mapping[str, tuple[str | None, ...]]

KEYS = {
    "id": "text", "name": "text", "user_name": "text", "created_at": "instant", "expires_at": "instant",
    "may_call": "flag", "used": "flag",
}  # fmt: skip
BUDGETS = {
    "id": "text", "name": "text", "subject": "text", "subject_id": "text", "unit": "text", "amount": "whole",
    "period": "text", "hard": "flag", "enabled": "flag", "daily": "numbers",
}  # fmt: skip
"""Columns of the frames that `analytics.advice` takes, and their types."""
_WHOSE = {"user", "team", "key"}
_SUBJECTS = {"key", "user", "team", "project", "tag"}
_MOST_KEYS = 5000
_MOST_USED = 10_000


def keys_and_budgets(  # noqa: PLR0917 - the parts of a question
    bench: Workbench, caller: Caller, filters: Sequence[str], where: Where, now: datetime, days: int
) -> tuple[list[dict[str, Any]] | None, list[dict[str, Any]] | None, str]:
    """Return the rows of `KEYS` and `BUDGETS`, or None and why: a filter says nothing of a key or a budget."""
    names = {one.partition(":")[0] for one in filters}
    if names - _WHOSE:
        asked = ", ".join(sorted(names - _WHOSE))
        return None, None, f"Keys and budgets are not told apart by {asked}; ask without that filter."
    asked_for = {name: where[name] for name in names}
    return _keys(bench, caller, asked_for, now, days), _budgets(bench, caller, asked_for, now, days), ""


def _keys(bench: Workbench, caller: Caller, asked: Where, now: datetime, days: int) -> list[dict[str, Any]]:
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - the lake's libraries load with the first question

    rows = {row["id"]: row for row in _seen(bench, caller, now)}
    columns = {"user": "user_id", "team": "team", "key": "id"}
    wanted = [
        row
        for row in rows.values()
        if not row["rotated_from"] and all(row[columns[name]] in values for name, values in asked.items())
    ]
    query = Query(metrics=("requests",), by=("key",), start=now - timedelta(days=days), end=now, limit=_MOST_USED)
    used = set(numbers.breakdown(bench.lake, query, bench.compute).frame["key"]) if wanted else set()
    return [
        {
            **{name: row[name] for name in ("id", "name", "user_name", "created_at", "expires_at")},
            "may_call": "proxy:call" in row["scopes"],
            "used": row["id"] in used,
        }
        for row in sorted(wanted, key=lambda row: str(row["id"]))
    ]


def _seen(bench: Workbench, caller: Caller, now: datetime) -> list[dict[str, Any]]:
    """Return the live keys that the caller may see, as the list of keys shows them, and whose calls it sees."""
    who, top = caller.known, keys.sees_below(caller.known)
    if who.view == "all" and "keys:manage" in who.permissions:
        return keys.list_keys(bench.store, top=top, live_at=now, limit=_MOST_KEYS)
    found = keys.list_keys(bench.store, who.user_id, top=top, live_at=now, limit=_MOST_KEYS)
    if who.view != "own":
        for team in who.leads:
            found += keys.list_keys(bench.store, team=team, top=top, live_at=now, limit=_MOST_KEYS)
    return found


def _budgets(bench: Workbench, caller: Caller, asked: Where, now: datetime, days: int) -> list[dict[str, Any]]:
    found = []
    for one in limits.states(bench, caller):
        if asked and one.subject_id not in asked.get(one.subject, ()):
            continue
        row = {name: getattr(one, name) for name in BUDGETS if name != "daily"}
        found.append({**row, "daily": _daily(bench, caller, one, now, days)})
    return found


def _daily(bench: Workbench, caller: Caller, one: BudgetState, now: datetime, days: int) -> list[float]:
    """Return what each whole day has spent of a budget; nothing where the caller does not see all of its calls."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - the lake's libraries load with the first question

    if one.amount is None or not one.enabled or (one.subject != "global" and one.subject not in _SUBJECTS):
        return []
    whose: Where = {} if one.subject == "global" else {one.subject: (one.subject_id,)}
    try:
        if views.narrowed(caller.known, whose) != whose:
            return []
    except Denied:
        return []
    zone = zone_of(bench.settings.billing.time_zone)
    end = floor(now.astimezone(zone), "day")
    metric, scale = ("cost_usd", 1e9) if one.unit == "nano_usd" else ("total_tokens", 1.0)
    query = Query(
        metrics=(metric, "requests"), start=(end - timedelta(days=days)).astimezone(UTC), end=end.astimezone(UTC),
        grain="day", where=dict(whose), time_zone=zone.key,
    )  # fmt: skip
    frame = numbers.timeseries(bench.lake, query, bench.compute).frame.sort("step_at")
    told: list[float] = []
    for value, requests in frame.select(metric, "requests").rows():
        if told or requests:  # days before the first call are none of the history
            told.append(0.0 if not requests else float(value or 0) * scale)
    return told


def routes(bench: Workbench) -> list[tuple[str, str, str]]:
    """Return the configured models as (provider, seller in the price list, model)."""
    offered, settings = offered_now(bench), bench.settings
    told = [(one.provider, one.model) for entry in settings.models.values() for one in entry.deployments]
    told += [
        (prefix, rest)
        for target in (settings.tiers.big, settings.tiers.middle, settings.tiers.small)
        for prefix, slash, rest in [str(target).partition("/")]
        if slash
    ]
    return sorted(
        {(name, offered[name].price_id, model) for name, model in told if name in offered and offered[name].price_id}
    )

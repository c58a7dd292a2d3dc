"""Budgets: how they stand, for those whom they concern; making and changing them, for who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from proxy_server.control.api import limits
from proxy_server.control.pages import admin, subjects
from proxy_server.control.pages.budgets import PERIODS, bars
from ultimate_lib.limits.worst import PRICE_AS

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Page
    from proxy_server.control.pages.budgets import Bar
    from ultimate_lib.workbench import Workbench

_SUBJECTS = {
    "global": "everyone",
    "team": "a team",
    "user": "a person",
    "project": "a project",
    "key": "a key",
    "tag": "a tag (name=value)",
}
_UNPRICED = {"refuse": "refused", "allow": "let through"}


class Asked(Struct, kw_only=True):
    """Which budgets are looked for."""

    q: str = ""


class One(Struct, kw_only=True):
    """Which budget."""

    id: str


def budgets(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the budgets that concern the caller."""
    may_change = "settings:manage" in caller.known.permissions
    rows, found = admin.matching(bars(bench, caller), asked.q, _text)
    values: dict[str, Any] = {
        "q": asked.q,
        "budgets": rows,
        "found": found,
        "may_change": may_change,
        "zone": bench.settings.billing.time_zone,
        "subjects": _SUBJECTS,
        "periods": PERIODS,
        "suggested": subjects.suggested(bench, caller) if may_change else {},
        **_rules(bench, limits.NewBudget(subject="", amount=0, period="")),
    }
    return admin.page(caller, "budgets", "Budgets", values)


def budget(bench: Workbench, caller: Caller, asked: One) -> Page:
    """Return the page on which a budget is changed. Raises `NotFound`."""
    told = limits.budget(bench, caller, limits.One(asked.id))
    shown = [one for one in bars(bench, caller) if one.id == told.id]
    name = shown[0].name if shown else "Budget"
    amount = told.amount or 0  # never null for who may change it
    values = {
        "name": name,
        "budget": told,
        "budgets": shown,
        "may_change": False,
        "zone": bench.settings.billing.time_zone,
        "amount": f"{amount / 1e9:.9f}".rstrip("0").rstrip(".") if told.unit == "nano_usd" else str(amount),
        **_rules(bench, told),
    }
    return admin.page(caller, "budgets", name, values, template="budget")


def _rules(bench: Workbench, told: limits.NewBudget | limits.BudgetTold) -> dict[str, Any]:
    """Return what the fields say of a hard budget."""
    rule = told.unpriced or ""
    return {
        "rules": told,
        "price_as": rule.removeprefix(PRICE_AS) if rule.startswith(PRICE_AS) else "",
        "usual_wait": f"{bench.settings.limits.hold_wait_s:g}",
        "usual_unpriced": _UNPRICED[bench.settings.billing.unpriced],
    }


def _text(one: Bar) -> str:
    return f"{one.name} {one.whose} {one.period}"

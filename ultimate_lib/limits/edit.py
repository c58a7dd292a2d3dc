"""Making, changing and removing budgets and rate limits: checked, counted up, and in the audit or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultimate_lib.errors import Invalid, NotFound, Taken
from ultimate_lib.limits.calendar import PERIODS
from ultimate_lib.limits.calls import SUBJECTS, UNITS, Budget
from ultimate_lib.limits.worst import PRICE_AS, check_price_as
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit
from ultimate_lib.store import limits as rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ultimate_lib.clock import Clock
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store

_MOST = 10**18  # nano-dollars or tokens
_MOST_PER_MINUTE = 10**12
_MOST_CONCURRENT = 1_000_000
_LONGEST = 256
_RATES = {
    "requests_per_minute": _MOST_PER_MINUTE,
    "tokens_per_minute": _MOST_PER_MINUTE,
    "concurrent": _MOST_CONCURRENT,
}
_NAMES = {"budget": "budget", "rate_limit": "rate limit"}
_CHANGEABLE = {
    "budget": frozenset({"name", "amount", "hard", "enabled", "when_short", "hold_wait_s", "unpriced"}),
    "rate_limit": frozenset(_RATES),
}


def listed(store: Store, kind: str) -> list[dict[str, Any]]:
    """Return all budgets (`budget`) or rate limits (`rate_limit`), oldest first."""
    with store.begin() as connection:
        return [dict(row) for row in rows.rows(connection, kind)]


def one(store: Store, kind: str, row_id: str) -> dict[str, Any]:
    """Return one of them. Raises `NotFound`."""
    with store.begin() as connection:
        return dict(_found(rows.row(connection, kind, row_id), kind, row_id))


def create_budget(
    store: Store,
    clock: Clock,
    settings: Settings,
    actor: str,
    values: Mapping[str, Any],
    *,
    base: Callable[[Budget], Callable[[Any], object]],
    prices: Callable[[], PriceBook],
    address: str = "",
) -> dict[str, Any]:
    """Make a budget. `base` reads what its period has seen and returns what writes that down. Raises `Invalid`.

    `prices` returns those that gateways go by, and is asked by budgets that name a model to price others as.
    """
    row = {
        "id": f"bud_{new_call_id(clock.now_us())[-12:]}", "name": "", "subject_id": None, "unit": "nano_usd",
        "hard": False, "enabled": True, "when_short": "refuse", "hold_wait_s": None, "unpriced": None, **values,
        "created_at": clock.now(),
    }  # fmt: skip
    if row["subject"] not in SUBJECTS:
        raise _wrong("subject", SUBJECTS)
    if row["unit"] not in UNITS:
        raise _wrong("unit", UNITS)
    if row["period"] not in PERIODS:
        raise _wrong("period", PERIODS)
    with store.begin() as connection:
        row["subject_id"] = _subject(connection, row["subject"], row["subject_id"])
    _check_budget(row, settings)
    _check_prices(row, prices, clock)
    about = {name: row[name] for name in Budget.__struct_fields__ if name in row}
    begin = base(Budget(**{**about, "subject_id": row["subject_id"] or ""}))
    with store.begin() as connection:
        rows.add(connection, "budget", row)
        begin(connection)
        audit.append(connection, _audited(clock, actor, "budget.create", row["id"], address, None, row))
    return {**row, "version": 1}


def create_rate_limit(
    store: Store, clock: Clock, actor: str, values: Mapping[str, Any], *, address: str = ""
) -> dict[str, Any]:
    """Make a rate limit; a subject has at most one. Raises `Invalid`."""
    row = {
        "id": f"rat_{new_call_id(clock.now_us())[-12:]}", **dict.fromkeys(_RATES), **values,
        "created_at": clock.now(),
    }  # fmt: skip
    if row["subject"] not in SUBJECTS[:4]:
        raise _wrong("subject", SUBJECTS[:4])
    _check_rates(row)
    with store.begin() as connection:
        row["subject_id"] = _subject(connection, row["subject"], row.get("subject_id")) or ""
        for other in rows.rows(connection, "rate_limit"):
            if (other["subject"], other["subject_id"]) == (row["subject"], row["subject_id"]):
                raise Taken(
                    "There is a rate limit for this already.", hint=f"Change {other['id']}.", code="limit_twice"
                )
        rows.add(connection, "rate_limit", row)
        audit.append(connection, _audited(clock, actor, "rate_limit.create", row["id"], address, None, row))
    return {**row, "version": 1}


def change(  # noqa: PLR0917 - who changes what of which
    store: Store, clock: Clock, settings: Settings, actor: str, kind: str, row_id: str, values: Mapping[str, Any], *,
    expect: Callable[[Mapping[str, Any]], None], prices: Callable[[], PriceBook], address: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Change some values. Raises `NotFound`, `Invalid`, and what `expect` raises for a row of another version.

    `prices` as in `create_budget`.
    """
    unknown = set(values) - _CHANGEABLE[kind]
    if unknown:
        raise Invalid(
            f"The {_NAMES[kind]}'s '{min(unknown)}' cannot be changed.", hint="Make another.", code="unchangeable"
        )
    with store.begin() as connection:
        before = dict(_found(rows.row(connection, kind, row_id), kind, row_id))
        expect(before)
        after = {**before, **values}
        if kind == "budget":
            _check_budget(after, settings)
            if after["unpriced"] != before["unpriced"]:  # prices of another day keep nobody from other changes
                _check_prices(after, prices, clock)
        else:
            _check_rates(after)
        if not rows.change(connection, kind, row_id, before["version"], values):
            raise _changed()
        action = f"{kind}.change"
        told = {name: before[name] for name in values}
        audit.append(connection, _audited(clock, actor, action, row_id, address, told, dict(values)))
    return {**after, "version": before["version"] + 1}


def remove(
    store: Store, clock: Clock, actor: str, kind: str, row_id: str, *,
    expect: Callable[[Mapping[str, Any]], None], address: str = "",
) -> None:  # fmt: skip
    """Remove one. Raises `NotFound`, and what `expect` raises for a row of another version."""
    with store.begin() as connection:
        before = dict(_found(rows.row(connection, kind, row_id), kind, row_id))
        expect(before)
        if not rows.remove(connection, kind, row_id, before["version"]):
            raise _changed()
        audit.append(connection, _audited(clock, actor, f"{kind}.delete", row_id, address, before, None))


# -- checks -----------------------------------------------------------------------------------------------------


def _check_budget(row: Mapping[str, Any], settings: Settings) -> None:
    if not 0 < row["amount"] <= _MOST:
        raise Invalid("A budget's amount is above 0 and at most 10^18 nano-dollars or tokens.", code="amount")
    if len(row["name"]) > _LONGEST:
        raise Invalid(f"A budget's name has at most {_LONGEST} characters.", code="name")
    if row["when_short"] not in {"refuse", "clamp"}:
        raise _wrong("when_short", ("refuse", "clamp"))
    wait = row["hold_wait_s"]
    if wait is not None and not 0 <= wait <= 600:  # noqa: PLR2004 - ten minutes
        raise Invalid("hold_wait_s is 0 to 600 seconds.", code="hold_wait_s")
    rule = row["unpriced"]
    if rule is not None and rule not in {"refuse", "allow"} and not (
        rule.startswith(PRICE_AS) and len(PRICE_AS) < len(rule) <= _LONGEST
    ):  # fmt: skip
        raise _wrong("unpriced", ("refuse", "allow", f"{PRICE_AS}<model>"))
    if row["hard"] and row["enabled"] and settings.server.gateways != 1:
        raise Invalid(
            "Several gateway processes cannot keep a hard budget.",
            hint="Set server.gateways = 1, or make it soft.",
            code="gateways_budget",
        )


def _check_prices(row: Mapping[str, Any], prices: Callable[[], PriceBook], clock: Clock) -> None:
    if (row["unpriced"] or "").startswith(PRICE_AS):
        check_price_as(prices(), row["unpriced"], clock.now_us())


def _check_rates(row: Mapping[str, Any]) -> None:
    if all(row.get(name) is None for name in _RATES):
        raise Invalid(f"A rate limit limits something: {', '.join(_RATES)}.", code="rate_limit_empty")
    for name, most in _RATES.items():
        if row.get(name) is not None and not 1 <= row[name] <= most:
            raise Invalid(f"{name} is 1 to {most}.", code="rate_limit_value")


def _subject(connection: Any, subject: str, subject_id: str | None) -> str | None:
    """Return what calls say of a subject. Raises `Invalid` when there is no such key, user or team."""
    if subject == "global":
        if subject_id:
            raise Invalid("What is global has no subject_id.", code="subject")
        return None
    if not subject_id or len(subject_id) > _LONGEST:
        raise Invalid(f"Say which {subject}: subject_id.", code="subject")
    if subject in {"project", "tag"}:
        return subject_id
    found = rows.subject(connection, subject, subject_id)
    if found is None:
        by = "its id" if subject == "key" else "name or id"
        raise Invalid(
            f"There is no {subject} '{subject_id}'.", hint=f"Give {by}, as the list has it.", code="subject"
        )
    return found


def _wrong(name: str, known: tuple[str, ...]) -> Invalid:
    return Invalid(f"{name} is one of: {', '.join(known)}.", code=name)


def _found(row: Any, kind: str, row_id: str) -> Any:
    if row is None:
        raise NotFound(f"There is no {_NAMES[kind]} '{row_id}'.", code=f"{kind}_unknown")
    return row


def _changed() -> Invalid:
    error = Invalid("This has changed since it was read.", hint="Read it again and decide anew.", code="changed")
    error.http_status = 412
    return error


def _audited(  # noqa: PLR0917 - the columns of the row, in order
    clock: Clock, actor: str, action: str, target: str, address: str, before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    def told(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if values is None else {name: one for name, one in values.items() if name != "created_at"}

    return {
        "at": clock.now(), "actor": actor, "action": action, "object": target, "before": told(before),
        "after": told(after), "address": address or None,
    }  # fmt: skip

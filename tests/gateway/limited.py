"""Budgets and rate limits for a gateway under test, written into its store as control would."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.gateway.gateways import Gateway
from tests.harness import wait_until
from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake
from ultimate_lib.limits import edit, sums
from ultimate_lib.limits.status import BudgetState, status
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.settings import Settings, load
from ultimate_lib.store import Store

USD = 1_000_000_000
CLOCK = SystemClock()


STORE = "store-url"
"""A file in a folder under test that says which database its store is, where it is not the folder's own SQLite."""


def settings_of(folder: Path, **told: Any) -> Settings:
    at = folder / STORE
    elsewhere = {"data.store_url": at.read_text(encoding="utf-8")} if at.exists() else {}
    return load(environ={}, overrides={"data.folder": str(folder), **elsewhere, **told})


@contextlib.contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    store = Store(settings_of(folder).store_url)
    try:
        yield store
    finally:
        store.close()


def make_budget(folder: Path, amount: int, **members: Any) -> str:
    """Make a hard global budget of a day, unless told otherwise, as the route does; return its id."""
    settings = settings_of(folder)

    def base(made: Any) -> Any:
        (found,) = sums.from_lake(Lake.open(settings, CLOCK), [made])
        return lambda connection: sums.begin(connection, found)

    about = {"subject": "global", "period": "day", "hard": True, "amount": amount, **members}
    with open_store(folder) as store:
        return str(edit.create_budget(store, CLOCK, settings, "test", about, base=base, prices=prices)["id"])


def prices() -> PriceBook:
    return PriceBook(pricelist.load())


def change_budget(folder: Path, budget_id: str, **values: Any) -> None:
    with open_store(folder) as store:
        settings = settings_of(folder)
        edit.change(store, CLOCK, settings, "test", "budget", budget_id, values, expect=lambda _: None, prices=prices)


def make_rate(folder: Path, **members: Any) -> str:
    with open_store(folder) as store:
        return str(edit.create_rate_limit(store, CLOCK, "test", {"subject": "global", **members})["id"])


def stored_state(folder: Path, budget_id: str) -> BudgetState:
    """Return a budget's state as store and journal tell it, without the gateway's word."""
    with open_store(folder) as store:
        (one,) = [one for one in status(store, CLOCK, settings_of(folder), []) if one.id == budget_id]
    return one


def told_state(gateway: Gateway, budget_id: str) -> dict[str, Any] | None:
    """Return a budget's state as the gateway's last snapshot tells it."""
    return next((one for one in gateway.told().get("budgets", ()) if one["id"] == budget_id), None)


def noticed(gateway: Gateway, budget_id: str, within_s: float = 10.0) -> None:
    """Wait until the gateway goes by a budget."""
    wait_until(lambda: told_state(gateway, budget_id) is not None, within_s)

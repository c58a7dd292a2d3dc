"""Providers: entering a key, and which provider serves which model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from proxy_server import prices
from proxy_server.control.answers import Nothing
from proxy_server.control.api import providers as api
from proxy_server.control.pages import admin
from ultimate_lib.errors import NotFound, UltimateError
from ultimate_lib.pricing import PriceBook
from ultimate_lib.providers import Routes

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Page
    from proxy_server.control.api.providers import ProviderTold
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)


class Asked(Struct, kw_only=True):
    """What is looked for."""

    q: str = ""


class Way(NamedTuple):
    """Where calls of a model go."""

    model: str
    to: str
    why: str


def providers(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the page; a store that does not answer is said on it."""
    values: dict[str, Any] = {"q": asked.q, "providers": [], "ways": [], "found": 0, "unreadable": ""}
    try:
        told = api.listed(bench, caller, Nothing())
        ways, found = admin.matching(_ways(bench, told), asked.q, lambda way: f"{way.model} {way.to}")
        values |= {"providers": told, "ways": ways, "found": found}
    except UltimateError as error:
        log.warning("The providers cannot be told: %s", error)
        values["unreadable"] = str(error)
    return admin.page(caller, "providers", "Providers & routes", values)


def _ways(bench: Workbench, told: list[ProviderTold]) -> list[Way]:
    """Return the configuration's names, then the models of the price list that have a provider with a key."""
    settings = bench.settings
    ways = [
        Way(
            alias,
            f"{one.provider}/{one.model}",
            "configured" if len(entry.deployments) == 1 else "configured, in turn",
        )
        for alias, entry in settings.models.items()
        for one in sorted(entry.deployments, key=lambda one: (one.priority, -one.weight))
    ]
    inforce = [one for one in told if one.in_force]
    known = api.offered_now(
        bench, demo_url="http://localhost"
    )  # a name may lead there; where it is matters to no route
    routes = Routes(settings, known, PriceBook(prices.whole_table(settings.run_dir)))
    seen = set(settings.models)
    for one in inforce:
        for model in one.models:
            if model in seen:
                continue
            seen.add(model)
            try:
                route = routes.find(one.protocol, model)
            except NotFound:
                continue
            ways.append(Way(model, f"{route.provider.name}/{route.model}", "price list"))
    return ways

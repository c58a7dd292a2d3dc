"""The page of recommendations: cards, the largest saving first, each with its calls, steps and assumptions."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from msgspec import Struct

from proxy_server.control.answers import Answer, Page
from proxy_server.control.api import recommendations as advice
from proxy_server.control.pages import shown, whose
from ultimate_lib.analytics.advice import words
from ultimate_lib.errors import Invalid, UltimateError

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from proxy_server.control.api.recommendations import Recommendations
    from ultimate_lib.analytics.advice.told import Advice, Kind
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_DAYS = (7, 30, 90)
KINDS = {
    "prompt_caching": "Prompt caching",
    "cheaper_model": "Cheaper model",
    "duplicate_calls": "Duplicate calls",
    "costly_retries": "Costly retries",
    "runaway_loops": "Runaway loops",
    "oversized_max_tokens": "Oversized max_tokens",
    "batchable_work": "Batchable work",
    "idle_keys": "Idle keys",
    "misfit_budgets": "Budgets that do not fit",
}
_PLACES = {"idle_keys": "/admin/keys", "misfit_budgets": "/admin/budgets"}
_OF = {"idle_keys": "key", "misfit_budgets": "budget"}


class Asked(Struct, kw_only=True):
    """What the form says."""

    days: str = "30"
    kind: str = ""
    project: str = ""
    model: str = ""
    whose: str = ""


class Card(NamedTuple):
    """One recommendation in words."""

    id: str
    kind: str
    title: str
    saving: str
    between: str
    calls: str
    link: str
    link_says: str
    samples: list[tuple[str, str]]  # id, and how it begins
    how: list[str]
    snippet: str
    assumptions: list[str]
    overlaps: list[tuple[str, str]]  # id and title of what may count the same calls


class Looked(NamedTuple):
    """How a kind was looked for."""

    kind: str
    words: str


def recommendations(bench: Workbench, caller: Caller, asked: Asked) -> Answer:
    """Return the page, with what is wrong on it where something is."""
    values: dict[str, Any] = {
        "asked": asked,
        "days": _DAYS,
        "kinds": KINDS,
        "choices": whose.choices(caller.known),
        "told": None,
        "problem": "",
        "unreadable": "",
    }
    status = None
    try:
        values |= _shown(advice.recommendations(bench, caller, _question(caller, asked)))
    except UltimateError as error:
        status = error.http_status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("Recommendations cannot be made: %s", error)
        values["unreadable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "problem"] = str(error)
    return Answer(Page("recommendations.html", "Recommendations", values, current="recommendations"), status=status)


def _question(caller: Caller, asked: Asked) -> advice.AskedRecommendations:
    if not (asked.days.isdecimal() and len(asked.days) < 4 and 1 <= int(asked.days) <= 365):  # noqa: PLR2004 - as the sentence says
        raise Invalid(f"'{asked.days[:20]}' is no number of days.", hint="Choose 1 to 365.")
    told = [f"{name}:{value}" for name in ("project", "model") if (value := getattr(asked, name).strip())]
    filters = (*told, *whose.filters(caller.known, asked.whose))
    kinds = (asked.kind,) if asked.kind else ()
    return advice.AskedRecommendations(days=int(asked.days), kinds=kinds, filter=filters)


def _shown(told: Recommendations) -> dict[str, Any]:
    titles = {one.id: one.title for one in told.recommendations}
    cards = [_card(one, titles) for one in told.recommendations]
    return {
        "told": told,
        "cards": cards,
        "total": words.usd(told.total_usd) if told.total_usd is not None else "",
        "surely": words.usd(told.surely_usd) if told.surely_usd is not None else "",
        "overlapping": told.surely_usd != told.total_usd,
        "few": told.too_few,
        "looked": [_looked(one) for one in told.kinds],
        "since": f"{told.since:%Y-%m-%d %H:%M}",
        "until": f"{told.until:%Y-%m-%d %H:%M}",
    }


def _card(one: Advice, titles: dict[str, str]) -> Card:
    between = ""
    if one.saving_usd is not None and one.lower_usd is not None and one.upper_usd is not None:
        between = f"in 30 days; 95 %: {words.usd(one.lower_usd)} to {words.usd(one.upper_usd)}"
        if one.lower_usd < 0:
            between += f". It may also cost more than now: up to {words.usd(-one.lower_usd)}"
    elif one.held_usd is not None:
        between = "held of a budget by each call"
    saving = "" if one.saving_usd is None else words.usd(one.saving_usd)
    if one.saving_usd is None and one.held_usd is not None:
        saving = words.usd(one.held_usd)
    link, says = _PLACES.get(one.kind, ""), f"Show the {_OF.get(one.kind, '')}s"
    behind = ""
    if one.calls is not None:
        told = {"start": one.since.isoformat(), "end": one.until.isoformat(), "filter": one.calls.filters}
        link = f"/calls?{urlencode(told, doseq=True)}"
        says = f"Show the {shown.count(one.calls.count)} call{'' if one.calls.count == 1 else 's'}"
        affected, number = shown.count(one.calls.affected), shown.count(one.calls.count)
        behind = f"Concerns {affected} of these {number} calls, {one.calls.share:.2%} of all"
    return Card(
        id=one.id,
        kind=KINDS.get(one.kind, one.kind),
        title=one.title,
        saving=saving,
        between=between,
        calls=behind,
        link=link,
        link_says=says,
        samples=[(call_id, call_id[:13]) for call_id in (one.calls.sample_ids if one.calls is not None else [])],
        how=one.how,
        snippet=one.snippet or "",
        assumptions=[*one.assumptions, *([one.interval] if one.interval else [])],
        overlaps=[(other, titles[other]) for other in one.may_overlap if other in titles],
    )


def _looked(one: Kind) -> Looked:
    what = f"{_OF.get(one.kind, 'call')}{'' if one.looked_at == 1 else 's'}"
    told = {
        "found": f"{one.found} found in {shown.count(one.looked_at)} {what}",
        "nothing": one.reason or f"nothing found in {shown.count(one.looked_at)} {what}",
    }.get(one.state, one.reason)
    return Looked(KINDS.get(one.kind, one.kind), told)

"""Whom a budget or a rate limit is for: in words, and as what a form suggests."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from proxy_server.control.api import keys as keys_api
from ultimate_lib.access import keys, teams, users
from ultimate_lib.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_MOST_KEYS = 500


def whose(bench: Workbench, caller: Caller, subject: str, subject_id: str | None) -> str:
    """Return a subject in words; by its id where it is gone or not the caller's to see."""
    if subject == "global":
        return "everyone"
    if subject == "user" and subject_id == caller.known.user_id:
        return "you"
    try:
        if subject == "user":
            return f"user {users.one(bench.store, subject_id or '')['name']}"
        if subject == "key":
            return f"key {keys.one(bench.store, caller.known, subject_id or '')['name']}"
    except NotFound:
        pass
    return f"{subject} {subject_id}"


def name(bench: Workbench, caller: Caller, kind: str, one: str) -> str | None:
    """Return the name of a key or a user; None where it is gone or not the caller's to know."""
    who = caller.known
    with contextlib.suppress(NotFound):
        if kind == "key":
            return str(keys.one(bench.store, who, one)["name"])
        return people(bench, caller, [one]).get(one)
    return None


def people(bench: Workbench, caller: Caller, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of those users that the caller may know: itself, whom it leads, with `users:manage` all."""
    who = caller.known
    if "users:manage" in who.permissions:
        return users.names(bench.store, ids)
    led = teams.listed(bench.store, who) if who.leads else []
    known = {member["id"]: str(member["name"]) for team in led for member in team["members"] or ()}
    return {one: name for one, name in {**known, who.user_id: who.user_name}.items() if one in set(ids)}


def callers(bench: Workbench, caller: Caller, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return who made some calls, by id, as far as the caller may know; nobody while the store is away."""
    try:
        return people(bench, caller, {row["user_id"] for row in rows if row["user_id"]})
    except Unavailable as error:  # calls are told all the same, with ids
        log.warning("The names of callers cannot be told: %s", error)
        return {}


def suggested(bench: Workbench, caller: Caller) -> dict[str, list[tuple[str, str]]]:
    """Return what can be chosen, by kind: what is sent, and what people know it by."""
    everyones = "all" if "keys:manage" in caller.known.permissions else ""
    live = keys_api.listed(bench, caller, keys_api.Listing(user=everyones, state="live", limit=_MOST_KEYS)).keys
    return {
        "team": [(one["name"], one["title"] or "") for one in teams.listed(bench.store, caller.known)],
        "user": [(one["name"], one["email"] or "") for one in users.listed(bench.store)],
        "key": [(one.id, f"{one.name} ({one.user_name or one.user_id})") for one in live],
    }

"""How the proxy does, as the panel shows it: one word, one sentence, what to do, what can be done from here."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from jupyterlab_ultimate_proxy.refusal import Refusal
from jupyterlab_ultimate_proxy.where import data_folder_of, has_run_file, is_loopback, supervisor_of

if TYPE_CHECKING:
    from claude_proxy.places import Place
    from jupyterlab_ultimate_proxy.upstream import Upstream
    from jupyterlab_ultimate_proxy.where import Where

API = 1
"""The interface that this extension speaks, as /api/version counts it."""

STATES = {
    "running": "answers and knows the key",
    "refused": "answers, but not to this key",
    "other_version": "answers with an interface that this extension does not speak",
    "foreign": "something answers that is no Ultimate Proxy",
    "slow": "does not answer in time",
    "unreachable": "nobody answers",
    "misconfigured": "it cannot be told where the proxy is",
}
_NOTHING = {"can_start": False, "can_stop": False, "ends_lab": False}
_UPGRADE = "Install the same version of ultimate-proxy for the proxy and for JupyterLab."


async def describe(where: Where, upstream: Upstream, *, fresh: bool = False) -> dict[str, Any]:
    """Return the state. Never raises for what the proxy does or does not do."""
    try:
        place = await where(fresh=fresh)
    except Refusal as refusal:
        return _told("misconfigured", None, refusal.message, refusal.hint) | _NOTHING
    told = await _asked(place, upstream)
    return told | await asyncio.to_thread(_abilities, told["state"], place)


async def _asked(place: Place, upstream: Upstream) -> dict[str, Any]:
    try:
        status, version = await upstream.ask(place, "GET", "/api/version")
    except Refusal as refusal:
        state = {"slow": "slow", "not_json": "foreign", "redirect": "foreign", "hung_up": "foreign"}
        return _told(state.get(refusal.code, "unreachable"), place, refusal.message, refusal.hint)
    if not isinstance(version, dict) or (status != HTTPStatus.OK and "error" not in version):
        return _told("foreign", place, f"What answers at {place.url} is no Ultimate Proxy.", "Correct the address.")
    if status != HTTPStatus.OK or version.get("api") != API:
        told = version.get("version") or "an earlier one"
        return _told(
            "other_version", place, f"The proxy's version ({told}) does not fit this panel.", _UPGRADE, version
        )
    return await _signed_in(place, upstream, version)


async def _signed_in(place: Place, upstream: Upstream, version: dict[str, Any]) -> dict[str, Any]:
    if not place.key:
        return _told(
            "refused",
            place,
            "No key for the proxy was found.",
            "Set CLAUDE_PROXY_API_KEY where JupyterLab starts, or run `claude-proxy config set api_key cp_…`.",
            version,
        )
    try:
        status, who = await upstream.ask(place, "GET", "/api/auth/verify")
    except Refusal as refusal:
        state = "slow" if refusal.code == "slow" else "unreachable"
        return _told(state, place, refusal.message, refusal.hint, version)
    if status == HTTPStatus.OK and isinstance(who, dict):
        user = {name: who.get(name) for name in ("user_name", "permissions", "sees_all_calls")}
        return _told("running", place, "The proxy runs.", "", version, user=user)
    error = who.get("error", {}) if isinstance(who, dict) else {}
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        message = error.get("message") or "The proxy does not know the key."
        hint = f"The key comes from {_key_source(place)}. Make a new one on the proxy's pages and set it there."
        return _told("refused", place, message, hint, version)
    return _told(
        "slow", place, error.get("message") or f"The proxy failed ({status}).", error.get("hint", ""), version
    )


def _key_source(place: Place) -> str:
    return (
        place.source if place.source.endswith(".json") else f"the environment or the configuration ({place.source})"
    )


def _told(
    state: str,
    place: Place | None,
    message: str,
    hint: str,
    version: dict[str, Any] | None = None,
    *,
    user: dict[str, Any] | None = None,
) -> dict[str, Any]:
    version = version or {}
    return {
        "state": state,
        "reachable": state in {"running", "refused", "other_version"},
        "url": place.url if place else None,
        "source": place.source if place else None,
        "version": version.get("version"),
        "demo": bool(version.get("demo")),
        "user": user,
        "message": message,
        "hint": hint,
    }


def _abilities(state: str, place: Place) -> dict[str, bool]:
    """Return what can be done from here: start a proxy on this computer, stop one of this user's. Reads files.

    `ends_lab`: stopping it ends this Jupyter server, too, which it has started.
    """
    if importlib.util.find_spec("proxy_server") is None:
        return _NOTHING
    folder = data_folder_of(place.url)
    can_stop = state not in {"unreachable", "foreign"} and folder is not None and has_run_file(folder)
    return {
        "can_start": state == "unreachable" and is_loopback(place.url),
        "can_stop": can_stop,
        "ends_lab": can_stop and folder is not None and supervisor_of(folder) == os.getppid(),
    }

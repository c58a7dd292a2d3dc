"""A change of the audit as people read it: names for ids, dollars for nano-dollars, minutes for instants."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_server.control.pages import shown, subjects
from ultimate_lib.access import keys, teams, users
from ultimate_lib.errors import NotFound
from ultimate_lib.limits import edit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

_ID = re.compile(r"(user|key|team|bud|rat)_\w+")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
_UNITS = {"nano_usd": "dollars"}
_LABELS = {"subject": "for", "subject_id": "which", "user_id": "user", "parent_id": "made with"}


class Words:
    """Says what the rows of a page are about. Each name is looked up once."""

    def __init__(self, bench: Workbench, caller: Caller, zone: ZoneInfo) -> None:
        self._bench = bench
        self._caller = caller
        self._zone = zone
        self._names: dict[str, str] = {}

    def name(self, one: str) -> str:
        """Return what people call an object; its id where it is gone, not the caller's to see, or has no name."""
        kind = _ID.fullmatch(one)
        if kind is None:
            return one
        if one not in self._names:
            self._names[one] = one
            with contextlib.suppress(NotFound):
                self._names[one] = self._found(kind[1], one) or one
        return self._names[one]

    def _found(self, kind: str, one: str) -> str:
        store, who = self._bench.store, self._caller.known
        if kind == "user":
            return str(users.one(store, one)["name"])
        if kind == "key":
            return str(keys.one(store, who, one)["name"])
        if kind == "team":
            team = teams.one(store, who, one)
            return str(team["title"] or team["name"])
        row = edit.one(store, "budget" if kind == "bud" else "rate_limit", one)
        whose = subjects.whose(self._bench, self._caller, row["subject"], row["subject_id"])
        return str(row.get("name") or f"of {whose}")

    def lines(self, row: Mapping[str, Any]) -> list[str]:
        """Return a line a value: what it is, and what it was where that is another."""
        was, now = row["before"] or {}, row["after"] or {}
        unit = self._unit(row["object"], {**was, **now})
        found = []
        for name in dict.fromkeys([*was, *now]):
            label = _LABELS.get(name, name.replace("_", " "))
            if name not in now:
                found.append(f"{label}: was {self._told(name, was[name], unit)}")
            elif name in was and was[name] != now[name]:
                before, after = (self._told(name, values[name], unit) for values in (was, now))
                found.append(f"{label}: {before} → {after}")
            elif now[name] not in (None, "", [], {}, row["object"]):
                found.append(f"{label}: {self._told(name, now[name], unit)}")
        return found

    def _unit(self, one: str, values: Mapping[str, Any]) -> str:
        """Return the unit of an amount: as the row says, else as its budget does; empty where nobody knows."""
        if "amount" not in values:
            return ""
        with contextlib.suppress(NotFound):
            return str(values.get("unit") or edit.one(self._bench.store, "budget", one)["unit"])
        return ""

    def _told(self, name: str, value: Any, unit: str) -> str:
        if name == "amount" and isinstance(value, int):
            return shown.usd(value / 1e9) if unit == "nano_usd" else f"{value:,}"
        if not isinstance(value, str):
            return _plain(value)
        if _INSTANT.match(value):
            with contextlib.suppress(ValueError):
                return shown.minute(datetime.fromisoformat(value), self._zone)
        return _UNITS.get(value) or self.name(value) or "none"


def _plain(value: Any) -> str:
    """Return a value as words; what is deeper than a list or a map stays JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} ({_part(one)})" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_part, value)) or "none"
    return "none" if value is None else _part(value)


def _part(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""The audit: who changed what, and whether the chain of rows is whole."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from msgspec import Struct, structs

from proxy_server.control.api import span
from proxy_server.control.pages import admin, shown
from proxy_server.control.pages.admin.changes import Words
from ultimate_lib.access import audits
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller, Page
    from ultimate_lib.workbench import Workbench

_A_PAGE = 50
_LAST_NUMBER = (1 << 63) - 1  # that a database can count to
_LONG = timedelta(days=366 * 10)  # only in a span without a beginning, which is not told then


class Asked(Struct, kw_only=True):
    """Which rows are looked for."""

    actor: str = ""
    action: str = ""
    object: str = ""
    start: str = ""
    end: str = ""
    before: int | None = None


def audit(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the page, with what is wrong on it where something is."""
    zone = span.zone_of(bench.settings.billing.time_zone)
    values: dict[str, Any] = {"asked": asked, "rows": [], "problem": "", "older": "", "zone": zone.key}
    equal = {name: text for name in ("actor", "action", "object") if (text := getattr(asked, name).strip())}
    try:
        start, end = _limits(bench, asked, zone)
        before = None if asked.before is None else min(max(asked.before, 0), _LAST_NUMBER)
        found = audits.found(bench.store, caller.known, equal, start=start, end=end, before=before, limit=_A_PAGE + 1)
        words = Words(bench, caller, zone)
        values["rows"] = [_shown(row, words, zone) for row in found[:_A_PAGE]]
        if len(found) > _A_PAGE:
            values["older"] = _link(structs.replace(asked, before=found[_A_PAGE - 1]["number"]))
    except Invalid as error:
        values["problem"] = str(error)
    values["newest"] = _link(structs.replace(asked, before=None)) if asked.before is not None else ""
    values["filtered"] = bool(equal or asked.start or asked.end)
    look, values["last_number"] = audits.last_look(bench.store)
    values["chain"] = look.told if look is not None else None
    values["looked_at"] = _moment(look.at, zone) if look is not None else ""
    return admin.page(caller, "audit", "Audit", values)


def _limits(bench: Workbench, asked: Asked, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    if not asked.start and not asked.end:
        return None, None
    told = span.read(asked.start, asked.end, zone.key, clock=bench.clock, default=_LONG)
    return (told.start if asked.start else None), (told.end if asked.end else None)


def _link(asked: Asked) -> str:
    told = {name: value for name, value in structs.asdict(asked).items() if value}
    return "/admin/audit" + (f"?{urlencode(told)}" if told else "")


def _shown(row: dict[str, Any], words: Words, zone: ZoneInfo) -> dict[str, Any]:
    return {
        **row,
        "at": _moment(row["at"], zone),
        "name": words.name(row["object"]),
        "all": _link(Asked(object=row["object"])),
        "lines": words.lines(row),
    }


def _moment(at: datetime, zone: ZoneInfo) -> str:
    return f"{shown.aware(at).astimezone(zone):%Y-%m-%d %H:%M:%S}"

"""The page of anomalies: a calendar of steps unlike those before, why, and the way to their calls."""

from __future__ import annotations

import logging
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from msgspec import Struct

from proxy_server.control.answers import Answer, Page
from proxy_server.control.api import anomalies as api
from proxy_server.control.pages import forecast, heat, shown, whose
from ultimate_lib.errors import Invalid, NotEnoughData, UltimateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from proxy_server.control.answers import Caller
    from proxy_server.control.api.anomalies import AnomalyHistory, AnomalyTold
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_GRAINS = {"hour": "hours", "day": "days", "minute": "minutes"}
_DAYS = ("3", "7", "14", "30", "60", "180", "365")
_BY = {"": "all together", "model": "each model", "project": "each project", "key": "each key",
       "notebook": "each notebook", "team": "each team", "user": "each user"}  # fmt: skip
_REASONS = {
    "hour": "far from its hour's usual",
    "novelty": "unlike any value so far",
    "season's level": "away from its hours' usual for long",
    "level": "the level has moved",
    "shift": "the level has moved",
    "unrest": "further from its hours' usual than usual",
    "restless": "changes more than usual",
    "calm": "changes less than usual",
    "still": "repeats the same value",
    "deviation": "many deviations from the last ones",
}
_MOST_ROWS = 200


class Asked(Struct, kw_only=True):
    """What the form says."""

    metric: str = "cost_usd"
    grain: str = "hour"
    days: str = ""  # empty: as many as are usual for the grain
    by: str = ""
    project: str = ""
    model: str = ""
    whose: str = ""


class Row(NamedTuple):
    """One anomaly in words."""

    at: str
    group: str
    value: str
    expected: str
    reason: str
    made_by: str
    calls: str


def anomalies(bench: Workbench, caller: Caller, asked: Asked) -> Answer:
    """Return the page, with what is wrong on it where something is."""
    values: dict[str, Any] = {
        "asked": asked,
        "metrics": forecast.METRICS,
        "grains": _GRAINS,
        "days": _DAYS,
        "by": _BY,
        "choices": whose.choices(caller.known),
        "told": None,
        "problem": "",
        "few": "",
        "unreadable": "",
    }
    status = None
    try:
        values |= _found(caller, asked, api.history_of(bench, caller, _question(caller, asked)))
    except NotEnoughData as error:
        values["few"] = str(error)
    except UltimateError as error:
        status = error.http_status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("The anomalies cannot be told: %s", error)
        values["unreadable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "problem"] = str(error)
    return Answer(Page("anomalies.html", "Anomalies", values, current="anomalies"), status=status)


def _question(caller: Caller, asked: Asked) -> api.AskedAnomalies:
    if asked.grain not in _GRAINS:
        raise Invalid(f"There are no steps of '{asked.grain[:20]}'.", hint=f"Choose one of {', '.join(_GRAINS)}.")
    days = asked.days.strip()
    if days and not (days.isdecimal() and len(days) < 4 and 1 <= int(days) <= 800):  # noqa: PLR2004 - as the sentence says
        raise Invalid(f"'{days[:20]}' is no number of days.", hint="Choose 1 to 800.")
    if asked.by not in _BY:
        raise Invalid(
            f"'{asked.by[:20]}' is nothing to go by.", hint=f"Choose one of {', '.join(filter(None, _BY))}."
        )
    told = [f"{name}:{value}" for name in ("project", "model") if (value := getattr(asked, name).strip())]
    return api.AskedAnomalies(
        metric=asked.metric,
        grain=asked.grain,
        days=int(days) if days else None,
        by=asked.by,
        filter=(*told, *whose.filters(caller.known, asked.whose)),
    )


def _found(caller: Caller, asked: Asked, told: AnomalyHistory) -> dict[str, Any]:
    from ultimate_lib.analytics.anomalies import calendar  # noqa: PLC0415 - not before the first question

    say = forecast.words(told.unit)
    link = _links(caller.root, asked)
    marks = [(one.step_at, one.score) for one in told.anomalies]
    days, picture = [], None
    if told.judged_from is not None:
        end = told.end.astimezone(told.judged_from.tzinfo)
        days = calendar.days(marks, told.judged_from, end, hours=told.grain != "day")
        picture = heat.draw(days, told.judged_from, link)
    return {
        "told": told,
        "heat": picture,
        "sentence": _sentence(told, asked),
        "busy": [(f"{one.on:%Y-%m-%d}", one.count, f"{one.worst:.1f}") for one in days if one.count][::-1],
        "rows": [_row(one, told.grain, say, link, asked) for one in told.anomalies[:_MOST_ROWS]],
        "left": max(len(told.anomalies) - _MOST_ROWS, 0),
        "groups": [
            (
                one.value or f"no {told.by}",
                "—" if one.share is None else f"{one.share:.1%}",
                one.judged,
                one.anomalies,
            )
            for one in told.groups
        ],
    }


def _sentence(told: AnomalyHistory, asked: Asked) -> str:
    count = len(told.anomalies)
    what = forecast.METRICS.get(asked.metric, told.metric)
    if not told.judged:
        return f"All {told.learnt:,} {_GRAINS[told.grain]} are learnt from; none could be judged yet."
    if not count:
        return f"Nothing unusual in {what}: {told.judged:,} {_GRAINS[told.grain]} were judged."
    days = Counter(one.step_at.date() for one in told.anomalies)
    most, many = days.most_common(1)[0]
    worst = f", the most on {most:%Y-%m-%d} ({many})" if many > 1 and len(days) > 1 else ""
    series = f" of {len(told.groups)} series" if told.by else ""
    return (
        f"{count} anomal{'y' if count == 1 else 'ies'} in {what} among {told.judged:,} {_GRAINS[told.grain]}{series} "
        f"that were judged{worst}."
    )


def _links(root: str, asked: Asked) -> Callable[..., str]:
    """Return what makes the link to the calls of a step: of its hour where minutes are judged."""
    own = {name: value for name in ("project", "model", "whose") if (value := getattr(asked, name).strip())}

    def link(at: datetime, grain: str, *group: str | None) -> str:
        begin = at.replace(minute=0) if grain == "minute" else at
        end = api.step_end(begin, "hour" if grain == "minute" else grain)
        by = {}
        if asked.by and group:  # `filter` can say that calls have none
            by = {"filter": f"{asked.by}:"} if group[0] is None else {asked.by: group[0]}
        told = {"start": begin.isoformat(), "end": end.isoformat(), **own, **by}
        return f"{root}/calls?{urlencode(told)}"

    return link


def _row(one: AnomalyTold, grain: str, say: Callable[[float], str], link: Callable[..., str], asked: Asked) -> Row:
    low, high = ("?" if bound is None else say(bound) for bound in (one.expected_low, one.expected_high))
    steps = "%Y-%m-%d" if grain == "day" else "%Y-%m-%d %H:%M"
    return Row(
        at=f"{one.step_at:{steps}}",
        group=(one.group or f"no {asked.by}") if asked.by else "",
        value=say(one.value),
        expected="usual by itself" if one.within else f"{low} to {high}",
        reason=_REASONS.get(one.reason, one.reason),
        made_by=", ".join(
            f"{part.dimension} {part.value or shown.UNKNOWN} {part.share:.0%}" for part in one.made_by[:2]
        ),
        calls=link(one.step_at, grain, one.group),
    )

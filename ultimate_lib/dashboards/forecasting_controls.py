"""The forecasting page's controls: what, how far, by which steps, of which calls; their state as an address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn

from ultimate_lib.dashboards.asking import Pause
from ultimate_lib.dashboards.filters import Filters, pick
from ultimate_lib.dashboards.places import style

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

METRICS = {
    "cost_usd": "Cost",
    "total_tokens": "Tokens",
    "requests": "Calls",
    "errors": "Errors",
    "latency_p95_ms": "Latency p95",
}
"""Name of a metric → what a person reads."""
_DAYS = ("1", "7", "14", "30", "90")
_GRAINS = {"Days": "day", "Hours": "hour"}
_CALENDARS = {"30 days, hours": "hour:30", "14 days, hours": "hour:14", "13 weeks, days": "day:91"}
_DEFAULTS = {"metric": "cost_usd", "days": "7", "grain": "day", "calendar": "hour:30"}
_WIDTHS_PX = {"metric": 120, "days": 110, "grain": 90, "calendar": 155, "filter": 138}  # all in a row
_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Wanted:
    """One state of the controls."""

    metric: str
    days: int
    grain: str  # hour | day
    calendar_grain: str
    calendar_days: int
    where: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)


class ForecastingControls:
    """`told` are values from an address, wrong ones are ignored.

    After a change by hand `begun` is called at once, and `changed` when no other follows for a moment.
    """

    def __init__(self, told: Mapping[str, str], begun: Callable[[], None], changed: Callable[[], None]) -> None:
        self._begun = begun
        self._pause = Pause(_PAUSE_S, changed)
        offered = {
            "metric": ("What", {words: name for name, words in METRICS.items()}),
            "days": ("How far", {f"{one} day{'s' if one != '1' else ''}": one for one in _DAYS}),
            "grain": ("Steps", _GRAINS),
            "calendar": ("Calendar", _CALENDARS),
        }
        self.picks: dict[str, Any] = {
            name: pick(label, options, _known(told.get(name), options, _DEFAULTS[name]), _WIDTHS_PX[name])
            for name, (label, options) in offered.items()
        }
        self._filters = Filters(told, _WIDTHS_PX["filter"])
        self.filters = self._filters.selects
        self.again = pn.widgets.Button(label="Refresh", stylesheets=[style("control")], margin=0)
        self.again.on_click(self._on)
        what, far, steps, calendar = self.picks.values()
        for one in (*self.picks.values(), *self.filters.values()):
            one.param.watch(self._on, "value")
        self.panel = pn.Row(
            what, far, steps, *self.filters.values(), calendar, self.again,
            css_classes=["up-controls"], stylesheets=[style("controls")], margin=0, sizing_mode="stretch_width",
        )  # fmt: skip

    @property
    def wanted(self) -> Wanted:
        """What is asked for."""
        told = {name: one.value for name, one in self.picks.items()}
        grain, _, days = told["calendar"].partition(":")
        return Wanted(told["metric"], int(told["days"]), told["grain"], grain, int(days), self._filters.where)

    @property
    def query(self) -> str:
        """The state as the query of an address; what stands as it began is left out."""
        told = {name: one.value for name, one in self.picks.items() if one.value != _DEFAULTS[name]}
        return urlencode(told | self._filters.told)

    def offer(self, name: str, values: Iterable[str | None]) -> None:
        """Offer what there is to filter by."""
        self._filters.offer(name, values)

    def _on(self, _event: Any) -> None:
        self._begun()
        self._pause.ask()


def _known(value: str | None, options: Mapping[str, str], otherwise: str) -> str:
    return value if value is not None and value in options.values() else otherwise

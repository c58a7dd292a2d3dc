"""The overview's controls: span, group, filters, live; their state as the query of an address and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn

from ultimate_lib.dashboards.filters import Filters, pick
from ultimate_lib.dashboards.places import Choice, style
from ultimate_lib.dashboards.question import GROUPS, SPANS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_DEFAULT_SPAN, _DEFAULT_GROUP = "24h", "model"


class Controls:
    """`told` are values from an address, wrong ones are ignored.

    After a change by hand `changed` is called, or `turned` when news were turned on or off.
    """

    def __init__(self, told: Mapping[str, str], changed: Callable[[], None], turned: Callable[[], None]) -> None:
        self._changed = changed
        self._filling = False
        span = told.get("span", _DEFAULT_SPAN)
        group = told.get("group", _DEFAULT_GROUP)
        first, last = _day(told.get("from")), _day(told.get("to"))
        if span not in SPANS or (span == "custom" and (first is None or last is None)):
            span = _DEFAULT_SPAN
        self.span = pick("Time range", {words: name for name, words in SPANS.items()}, span)
        self.first = self._text("From (a day)", first)  # calendars of Bokeh's have no keyboard and no dark
        self.last = self._text("To, inclusive", last)
        self.group = pick(
            "Group by", {words: name for name, words in GROUPS.items()}, group if group in GROUPS else "model"
        )
        self._filters = Filters(told)
        self.filters = self._filters.selects
        self.live = Choice("Live", turned, on=told.get("live") != "off")
        self.again = pn.widgets.Button(label="Refresh", stylesheets=[style("control")], margin=0)
        self.again.on_click(lambda _: changed())
        for one in (self.span, self.first, self.last, self.group, *self.filters.values()):
            one.param.watch(self._on, "value")
        self.panel = pn.Row(
            self.span, self.first, self.last, self.group, *self.filters.values(), self.live.panel, self.again,
            css_classes=["up-controls"], stylesheets=[style("controls")], margin=0, sizing_mode="stretch_width",
        )  # fmt: skip
        self._dates()

    @property
    def days(self) -> tuple[date, date] | None:
        """The days of a custom span, when both are days."""
        first, last = _day(self.first.value), _day(self.last.value)
        return None if first is None or last is None else (first, last)

    @property
    def where(self) -> dict[str, tuple[str | None, ...]]:
        """The filters that are set."""
        return self._filters.where

    @property
    def query(self) -> str:
        """The state as the query of an address; what stands as it began is left out."""
        told = self._filters.told
        if self.group.value != _DEFAULT_GROUP:
            told["group"] = self.group.value
        if self.span.value != _DEFAULT_SPAN:
            told["span"] = self.span.value
        if self.span.value == "custom" and self.days:
            told |= {"from": self.days[0].isoformat(), "to": self.days[1].isoformat()}
        if not self.live.on:
            told["live"] = "off"
        return urlencode(told)

    def offer(self, name: str, values: Iterable[str | None]) -> None:
        """Offer what there is to filter by; what is chosen stays, also when there is none of it in the span."""
        self._filters.offer(name, values)

    def _on(self, _event: Any) -> None:
        if self._filling:
            return
        self._dates()
        self._changed()

    def _dates(self) -> None:
        """Show the fields of a custom span; they begin as the last seven days."""
        custom = self.span.value == "custom"
        if custom and not (self.first.value or self.last.value):
            today = datetime.now(UTC).date()
            self._filling = True
            self.first.value, self.last.value = (today - timedelta(days=6)).isoformat(), today.isoformat()
            self._filling = False
        self.first.visible = self.last.visible = custom

    def _text(self, label: str, value: date | None) -> Any:
        told = value.isoformat() if value is not None else ""
        return pn.widgets.TextInput(
            label=label, value=told, placeholder="2026-11-24", stylesheets=[style("control")], width=120, margin=0
        )


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "").strip())
    except ValueError:
        return None

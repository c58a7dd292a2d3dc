"""Lists to choose from, and those by which calls are filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import panel as pn

from ultimate_lib.dashboards.places import style
from ultimate_lib.dashboards.question import FILTERS, GROUPS
from ultimate_lib.dashboards.shapes import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALL = "\x00"
_PLURALS = {"model": "All models", "provider": "All providers", "project": "All projects"}
_LONGEST_TOLD = 200


class Filters:
    """One list a dimension. `told` are values from an address; what is named there stays, also when there is none."""

    def __init__(self, told: Mapping[str, str], width_px: int = 150) -> None:
        self.selects = {
            name: pick(GROUPS[name], _options(name, (), _told(told.get(name))), _told(told.get(name)), width_px)
            for name in FILTERS
        }

    @property
    def where(self) -> dict[str, tuple[str | None, ...]]:
        """The filters that are set."""
        return {name: (one.value or None,) for name, one in self.selects.items() if one.value != _ALL}

    @property
    def told(self) -> dict[str, str]:
        """The filters that are set, for an address."""
        return {name: one.value for name, one in self.selects.items() if one.value != _ALL}

    def offer(self, name: str, values: Iterable[str | None]) -> None:
        """Offer what there is to filter by; what is chosen stays, also when there is none of it in the span."""
        select = self.selects[name]
        options = _options(name, values, select.value)
        if select.options != options:
            select.options = options


def pick(label: str, options: dict[str, str], value: str, width_px: int = 150) -> Any:
    """Return a list to choose one value from."""
    return pn.widgets.Select(
        label=label, options=options, value=value, stylesheets=[style("control")], width=width_px, margin=0
    )


def _options(name: str, values: Iterable[str | None], chosen: str) -> dict[str, str]:
    found = {_PLURALS[name]: _ALL}
    found |= {NONE if value is None else value: value or "" for value in values}
    if chosen not in found.values():
        found[chosen or NONE] = chosen
    return found


def _told(value: str | None) -> str:
    return _ALL if value is None else value[:_LONGEST_TOLD]

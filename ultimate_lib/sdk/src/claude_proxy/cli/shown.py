"""Figures as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from claude_proxy import frames, money
from claude_proxy.cli.output import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

_TITLES = {"cost_usd": "cost", "error_ratio": "errors", "step_at": "from", "unpriced_requests": "cost unknown"}
_MINUTE_S, _SECOND_MS = 60, 1000


def usd(value: float) -> str:
    """Return dollars: `$0.0123`."""
    return money.show(money.nano_usd(value))


def nano(value: int) -> str:
    """Return nano-dollars as dollars."""
    return money.show(value)


def whole(value: float) -> str:
    """Return a count: `1,204`."""
    return f"{value:,.0f}"


def ratio(value: float) -> str:
    """Return a share of one as per cent: `2.5 %`."""
    return f"{100 * value:.1f} %"


def milliseconds(value: float) -> str:
    """Return a duration: `850 ms`, `2.1 s`, `3 m 05 s`."""
    if round(value) < _SECOND_MS:
        return f"{value:.0f} ms"
    seconds = value / _SECOND_MS
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), _MINUTE_S)
    return f"{minutes:,} m {left:02} s"


def moment(text: str) -> str:
    """Return an instant to the second in this computer's time zone."""
    return f"{frames.instant(text).astimezone():%Y-%m-%d %H:%M:%S}"


def step(text: str) -> str:
    """Return the beginning of a step of time, in the time zone that it is told in."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute) == (0, 0) else f"{at:%Y-%m-%d %H:%M}"


def title(name: str) -> str:
    """Return the heading of a metric, a dimension or a column."""
    return _TITLES.get(name) or name.removesuffix("_ms").removesuffix("_usd").replace("_", " ")


_BY_UNIT = {
    "usd": usd,
    "calls": whole,
    "tokens": whole,
    "ratio": ratio,
    "ms": milliseconds,
    "tokens/s": "{:,.1f}".format,
}


def columns(names: list[str], units: Mapping[str, str]) -> list[Column]:
    """Return columns for metrics (with a unit) and what stands beside them."""
    found = []
    for name in names:
        if name in units:
            found.append(Column(name, title(name), _BY_UNIT.get(units[name], str), right=True))
        else:
            found.append(Column(name, title(name), step if name == "step_at" else str))
    return found


def value(name: str, told: Any) -> str:
    """Return the value of a column of a call by its name, which carries its unit."""
    if isinstance(told, bool):
        return "yes" if told else "no"
    if isinstance(told, list):
        return ", ".join(map(str, told))
    if name.endswith("_nano_usd"):
        return money.exact(told)
    if name.endswith("_at"):
        return moment(told)
    if name.endswith("_ms"):
        return milliseconds(told)
    return whole(told) if isinstance(told, int) and name.endswith(("_tokens", "_bytes")) else str(told)

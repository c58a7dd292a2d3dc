"""`%ultimate forecast`: what the next days will cost, as a line and a frame."""

from __future__ import annotations

import html
from datetime import datetime
from typing import TYPE_CHECKING, Any

from claude_proxy.errors import ProxyError
from ultimate_lib.kernel import proxy
from ultimate_lib.kernel.line import usd
from ultimate_lib.kernel.table import frame

if TYPE_CHECKING:
    from ultimate_lib.kernel.extension import Extension

_ASK_S = 60.0
_NANO = 1e9
_TOO_LITTLE = "not_enough_data"


class Told:
    """Lines of text."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        return "".join(f"<div>{html.escape(line)}</div>" for line in self.lines)


def forecast(extension: Extension) -> Any:
    """Show what all calls that this key may see will cost in the next 7 days, and return a frame of the days.

    Columns: step_at, value (USD), lower_80, upper_80, lower_95, upper_95, naive. Raises `ProxyError`.
    """
    from IPython.display import display  # noqa: PLC0415 - loaded in a kernel

    routed = extension.routed
    if routed is None:
        raise ProxyError("Calls are not routed.", hint=f"{extension.reason} `%ultimate on` routes them.")
    try:
        told = proxy.get(routed.checked.place, "/api/predictive/forecast", _ASK_S, days=7)
    except ProxyError as error:
        if error.code != _TOO_LITTLE:
            raise
        print(f"No forecast yet. {error}")  # noqa: T201 - a magic prints
        return None
    summary, test = told["summary"], told["backtest"]
    total, low, high = (usd(round(summary[name] * _NANO)) for name in ("total_cost", "lower_80", "upper_80"))
    demo = " · demo data" if routed.checked.demo else ""
    lines = [f"next 7 days, all calls you may see: {total} · 80 %: {low} to {high} · risk {told['risk_level']}{demo}"]
    lines += [_budget(one) for one in told["budgets"] if one["exhausted_at"] is not None]
    if test is None:
        lines.append("There is too little history to test this: take it as a guess.")
    display(Told(lines))  # type: ignore[no-untyped-call] # IPython types no part of it
    return frame([{**row, "step_at": datetime.fromisoformat(row["step_at"])} for row in told["rows"]])


def _budget(one: dict[str, Any]) -> str:
    when = one["exhausted_at"][:10]
    return f"budget {one['name'] or one['id']}: {one['probability']:.0%} likely to be spent, then on {when}"

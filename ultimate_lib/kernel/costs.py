"""`%ultimate cost` and `%ultimate calls`: this notebook's numbers as a frame, with a small chart."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from claude_proxy.errors import ProxyError
from ultimate_lib.kernel import proxy
from ultimate_lib.kernel.cells import current
from ultimate_lib.kernel.line import usd
from ultimate_lib.kernel.table import frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultimate_lib.kernel.extension import Extension, Routed

_DAYS = 30
_ASK_S = 30.0
_MOST_CALLS = 1000
_BARS = 12
_WIDTH = 40
_METRICS = "requests,errors,input_tokens,output_tokens,cost_usd,unpriced_requests"
_COLUMNS = (
    "started_at", "cell_id", "model_requested", "provider", "status", "stream", "input_tokens", "output_tokens",
    "cost_nano_usd", "duration_ms", "ttft_ms", "cache_hit", "error_type", "call_id",
)  # fmt: skip


class Bars:
    """A bar a row: as SVG where there is HTML, as text in a terminal."""

    def __init__(self, title: str, bars: Sequence[tuple[str, int | None]]) -> None:
        self.title = title
        self.bars = bars  # label and nano-dollars; None: not known

    def __repr__(self) -> str:
        most = max((value or 0 for _, value in self.bars), default=0)
        width = max((len(label) for label, _ in self.bars), default=0)
        lines = [self.title]
        for label, value in self.bars:
            bar = "█" * max(round(_WIDTH * value / most), 1) if value and most else ""
            lines.append(f"{label.ljust(width)}  {bar} {_money(value)}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        most = max((value or 0 for _, value in self.bars), default=0)
        step, height = 22, 22 * len(self.bars) + 4
        told = html.escape("; ".join(f"{label}: {_money(value)}" for label, value in self.bars))
        parts = [
            (
                f'<div style="font-size:13px;margin:4px 0">{html.escape(self.title)}</div>'
                f'<svg role="img" aria-label="{told}" width="100%" height="{height}" viewBox="0 0 720 {height}" '
                'preserveAspectRatio="xMinYMin" style="max-width:720px;font:12px sans-serif">'
            )
        ]
        for place, (label, value) in enumerate(self.bars):
            top = place * step
            long = max(300 * value / most, 1) if value and most else 0
            parts.append(
                f'<text x="0" y="{top + 14}" fill="currentColor">{html.escape(label[:44])}</text>'
                f'<rect x="290" y="{top + 3}" width="{long:.1f}" height="14" rx="2" fill="#3b82c4"></rect>'
                f'<text x="{296 + long:.1f}" y="{top + 14}" fill="currentColor">{_money(value)}</text>'
            )
        return "".join([*parts, "</svg>"])


def cost(extension: Extension) -> Any:
    """Show a chart and return a frame: this notebook by cell, the dearest first.

    Columns: cell_id, in (number of the cell's last run here), first_line, requests, errors, input_tokens,
    output_tokens, cost_usd (null when unknown), unpriced_requests. Without a known path it is about this kernel.
    Raises `ProxyError`.
    """
    from IPython.display import display  # noqa: PLC0415 - loaded in a kernel

    routed = _ready(extension)
    where, title = _where(extension)
    answer = proxy.get(
        routed.checked.place, "/api/analytics/aggregate", _ASK_S,
        metrics=_METRICS, by="cell_id", filter=where, start=_start(), order_by="cost_usd",
    )  # fmt: skip
    rows = [_named(row, extension) for row in answer["rows"]]
    if not rows:
        print(f"No calls of {title} in the last {_DAYS} days.")  # noqa: T201 - a magic prints
        return None
    bars = [(_label(row), round(row["cost_usd"] * 1e9) if row["cost_usd"] is not None else None) for row in rows]
    known = [value for _, value in bars if value is not None]
    unpriced = sum(row["unpriced_requests"] or 0 for row in rows)
    told = f"{usd(sum(known)) if known else 'cost unknown'} · {sum(row['requests'] for row in rows):,} calls"
    told += f" · {unpriced:,} unpriced" if unpriced else ""
    more = f" (the dearest {_BARS} of {len(bars)} cells)" if len(bars) > _BARS else ""
    demo = " · demo data" if routed.checked.demo else ""
    display(  # type: ignore[no-untyped-call] # IPython types no part of it
        Bars(f"{title}, last {_DAYS} days: {told}{more}{demo}", bars[:_BARS])
    )
    return frame(rows)


def calls(extension: Extension) -> Any:
    """Return this notebook's calls of the last 30 days, the newest 1,000 at most, as a frame. Raises `ProxyError`."""
    routed = _ready(extension)
    where, title = _where(extension)
    page = proxy.get(
        routed.checked.place, "/api/analytics/calls", _ASK_S, filter=where, start=_start(), limit=_MOST_CALLS
    )
    rows = [{name: row.get(name) for name in _COLUMNS} for row in page["rows"]]
    if not rows:
        print(f"No calls of {title} in the last {_DAYS} days.")  # noqa: T201 - a magic prints
        return None
    if page["next_cursor"] is not None:
        print(f"The newest {_MOST_CALLS:,} calls; there are more.")  # noqa: T201 - a magic prints
    for row in rows:
        row["started_at"] = datetime.fromisoformat(row["started_at"])
    return frame(rows)


def _ready(extension: Extension) -> Routed:
    """Return what is routed, once the calls that this cell made so far have their rows."""
    routed = extension.routed
    if routed is None:
        raise ProxyError("Calls are not routed.", hint=f"{extension.reason} `%ultimate on` routes them.")
    run = current()
    if run is not None and run.called:
        routed.booking.settle(run)
    return routed


def _where(extension: Extension) -> tuple[str, str]:
    path = extension.notebook.path
    return (f"notebook:{path}", path) if path else (f"kernel:{extension.kernel_id}", "this kernel")


def _start() -> str:
    return (datetime.now(UTC) - timedelta(days=_DAYS)).isoformat()


def _named(row: dict[str, Any], extension: Extension) -> dict[str, Any]:
    number, first = extension.cells.names.get(row["cell_id"], (None, None))
    return {"cell_id": row["cell_id"], "in": number, "first_line": first, **_without(row, "cell_id")}


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _label(row: dict[str, Any]) -> str:
    if row["in"] is not None:
        return f"[{row['in']}] {row['first_line']}"
    return str(row["cell_id"] or "outside of cells")


def _money(value: int | None) -> str:
    return "unknown" if value is None else usd(value)

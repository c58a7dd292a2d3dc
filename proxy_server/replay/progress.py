"""What a replay shows while it runs and at its end: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from proxy_server.replay.send import hint

if TYPE_CHECKING:
    from proxy_server.replay.send import Totals

_BAR_S = 0.25
_LINE_S = 5.0
_WIDE = 160  # columns, where there is no terminal to ask


async def watch(totals: Totals, run_id: str) -> None:
    """Show how the run goes until cancelled."""
    console = Console(stderr=True)
    if not console.is_terminal:
        await _lines(totals, run_id, console)
        return
    columns = (
        TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("replay", total=totals.planned, told="")
        rate = _Rate(totals)
        try:
            while True:
                bar.update(task, completed=totals.ended, told=rate.sentence(), refresh=True)
                await asyncio.sleep(_BAR_S)
        finally:
            bar.update(task, completed=totals.ended, told=rate.sentence(), refresh=True)


async def _lines(totals: Totals, run_id: str, console: Console) -> None:
    console.print(f"replay {run_id}: {totals.planned:,} calls", highlight=False)
    rate = _Rate(totals)
    while True:
        await asyncio.sleep(_LINE_S)
        console.print(f"replay {run_id}: {totals.ended:,} ended, {rate.sentence()}", highlight=False, soft_wrap=True)


class _Rate:
    """Calls a second since the last look, smoothed."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._at = time.monotonic()
        self._ended = 0
        self._rate = 0.0

    def sentence(self) -> str:
        now, ended = time.monotonic(), self._totals.ended
        if now - self._at > _BAR_S / 2:
            fresh = (ended - self._ended) / (now - self._at)
            self._rate = fresh if not self._rate else 0.7 * self._rate + 0.3 * fresh
            self._at, self._ended = now, ended
        return f"{self._rate:,.0f}/s, {self._totals.in_flight} in flight, {self._totals.failed.total():,} failed"


def _told(sample: str, remedy: str) -> str:
    """Return what a failure said and what to do about it, as sentences."""
    if sample and remedy and sample[-1] not in ".!?":
        sample += "."
    return f"{sample} {remedy}".strip()


def summary(totals: Totals, run_id: str, *, expected: tuple[int, int]) -> None:
    """Print what was sent and what became of it."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    table.add_row("run", run_id, "the tag replay of its rows")
    table.add_row("sent", f"{totals.begun:,}", f"of {totals.planned:,} in the trace")
    table.add_row("ok", f"{totals.ok:,}", "their terminal event arrived")
    table.add_row("failed", f"{totals.failed.total():,}", "")
    for reason, count in totals.failed.most_common():
        table.add_row(f"  {reason}", f"{count:,}", _told(totals.samples[reason], hint(reason)))
    if totals.resent:
        table.add_row("sent again", f"{totals.resent:,}", "no connection or no first byte before")
    rows = (
        ("input tokens", totals.sent_input_tokens, totals.told_input_tokens, expected[0]),
        ("output tokens", totals.sent_output_tokens, totals.told_output_tokens, expected[1]),
    )
    for name, sent, told, traced in rows:
        equal = "equal to the trace" if sent == told == traced else f"the trace has {traced:,}, answers told {told:,}"
        table.add_row(name, f"{sent:,}", f"asked for; {equal}")
    table.add_row("wall time", f"{totals.wall_s:,.1f} s", f"{totals.ended / max(totals.wall_s, 1e-9):,.0f} calls/s")
    if totals.late_s > 1:
        table.add_row("late", f"{totals.late_s:,.1f} s", "at most, behind the trace: cap or machine held back")
    micros = 1e6 * totals.cpu_s / max(totals.ended, 1)
    table.add_row("own CPU", f"{micros:,.0f} µs", "a call, of this load client")
    console.print(table)

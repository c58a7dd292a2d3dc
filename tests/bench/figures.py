"""How every benchmark prints: a table to read, then one JSON object a figure to keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured number with its unit, its budget and, where there are any, the figures of others."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    peer: Mapping[str, float] | None = None
    how: str = ""


def emit(figures: Sequence[Figure]) -> None:
    """Print the table, then the JSON lines as the last lines of the output."""
    rows = [("figure", "value", "unit", "budget", "how")]
    for figure in figures:
        budget = "" if figure.budget is None else f"{figure.budget:g}"
        rows.append((figure.name, f"{figure.value:.4g}", figure.unit, budget, figure.how))
        rows += [(f"  {name}", f"{value:.4g}", figure.unit, "", "") for name, value in (figure.peer or {}).items()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4], sep="  ")
    print()
    for figure in figures:
        print(json.dumps(figure._asdict()), flush=True)

"""Rows as the frame that there is a library for: polars, else pandas, else a plain table."""

from __future__ import annotations

import html
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Table:
    """Rows where no data frame library is installed: readable in a notebook and in a terminal."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows
        self.columns = list(rows[0]) if rows else []

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        lines = [self.columns, *([_cell(row[name]) for name in self.columns] for row in self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(_cell(row[name]))}</td>' for name in self.columns)}</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def frame(rows: Sequence[dict[str, Any]]) -> Any:
    """Return the rows as a frame."""
    if importlib.util.find_spec("polars") is not None:
        import polars  # noqa: ICN001, PLC0415 - when asked for, where it is installed

        return polars.DataFrame(rows, infer_schema_length=None)
    if importlib.util.find_spec("pandas") is not None:
        import pandas  # type: ignore[import-untyped, unused-ignore] # noqa: ICN001, PLC0415 - see above

        return pandas.DataFrame(list(rows))
    return Table(rows)


def _cell(value: object) -> str:
    return "—" if value is None else str(value)

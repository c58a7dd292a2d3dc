"""How a command shows what it found: a table for people, JSON and CSV for programs.

Unknown is `—` in a table, null in JSON and empty in CSV: never 0. JSON and CSV carry every figure in full.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

UNKNOWN = "—"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LEAST_ROOM = 20
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Column(NamedTuple):
    """One column of a table."""

    name: str  # of the member of a row
    title: str
    show: Callable[[Any], str] = str  # of a known value
    right: bool = False  # figures stand at the right
    colour: Callable[[Any], str] = lambda _: ""  # name of a colour, or nothing


class Output:
    """Where a command writes, and in which form."""

    def __init__(self, form: str = "table", *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.form = form
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self.coloured = not plain and self.out.isatty()

    # -- for every form --------------------------------------------------------------------------------------------

    def rows(
        self,
        columns: Sequence[Column],
        rows: Sequence[Mapping[str, Any]],
        *,
        document: Any = None,
        empty: str = "Nothing.",
    ) -> None:
        """Show rows. `document` is what JSON shows instead of them; `empty` what a table says when there are none."""
        if self.form == "json":
            self.json(rows if document is None else document)
        elif self.form == "csv":
            self._csv([column.name for column in columns], rows)
        elif rows:
            self._table(columns, rows)
        else:
            self.line(empty)

    def pairs(self, pairs: Sequence[tuple[str, str, Any]], *, document: Any, right: bool = False) -> None:
        """Show one thing: (title, text for a table, value) a line; CSV is one row of the values by title."""
        if self.form == "json":
            self.json(document)
        elif self.form == "csv":
            self._csv([title for title, _, _ in pairs], [{title: value for title, _, value in pairs}])
        else:
            left = max((width(title) for title, _, _ in pairs), default=0)
            texts = [clean(text) for _, text, _ in pairs]
            most = max(map(width, texts), default=0) if right else 0
            for (title, _, value), text in zip(pairs, texts, strict=True):
                shown = self.paint(text, "dim") if value is None else text
                self.line(f"{pad(title, left)}  {' ' * max(0, most - width(text))}{shown}")

    def json(self, value: Any) -> None:
        """Write a JSON document, numbers as they came."""
        self.line(json.dumps(value, indent=2, ensure_ascii=False))

    def note(self, text: str) -> None:
        """Say something beside the figures: below a table, on standard error when programs read the output."""
        if self.form == "table":
            self.line(self.paint(text, "yellow"))
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """Say something on standard error."""
        self.err.write(f"{clean(text)}\n")

    def line(self, text: str = "") -> None:
        """Write a line."""
        self.out.write(f"{text}\n")

    def progress(self, text: str) -> None:
        """Show how far something is, in place, where a person watches; an empty text wipes it."""
        if self.err.isatty():
            self.err.write(f"\r\x1b[2K{text}")
            self.err.flush()

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, where there are colours."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.coloured and colour else text

    # -- tables and CSV --------------------------------------------------------------------------------------------

    def _table(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        cells = [[cell(column, row.get(column.name)) for column in columns] for row in rows]
        widths = [
            max([width(column.title), *(width(line[number]) for line in cells)])
            for number, column in enumerate(columns)
        ]
        self.line(self.aligned(columns, widths))
        room = self._room(columns, widths)
        for row, line in zip(rows, cells, strict=True):
            first, *rest = textwrap.wrap(line[-1], room) if room and width(line[-1]) > room else [line[-1]]
            self.line(self.aligned(columns, widths, [*line[:-1], first], row))
            for more in rest:
                self.line(" " * (sum(widths[:-1]) + 2 * len(widths) - 2) + more)

    def _room(self, columns: Sequence[Column], widths: Sequence[int]) -> int:
        """Return how wide the last column may be; 0: as wide as it is, as no person watches or little is left."""
        if columns[-1].right or not self.out.isatty():
            return 0
        left = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
        return left if left >= _LEAST_ROOM else 0

    def aligned(
        self,
        columns: Sequence[Column],
        widths: Sequence[int],
        cells: Sequence[str] | None = None,
        row: Mapping[str, Any] | None = None,
    ) -> str:
        """Return one line of a table; without cells its head."""
        parts = []
        for number, (column, wide) in enumerate(zip(columns, widths, strict=True)):
            text = column.title if cells is None else cells[number]
            last = number == len(columns) - 1
            padded = pad(text, wide, right=column.right) if column.right or not last else text
            if cells is None:
                padded = self.paint(padded, "bold")
            elif row is not None and row.get(column.name) is None:
                padded = self.paint(padded, "dim")
            elif row is not None:
                padded = self.paint(padded, column.colour(row[column.name]))
            parts.append(padded)
        return "  ".join(parts)

    def _csv(self, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        self.out.write(csv_lines([names, *([row.get(name) for name in names] for row in rows)]))


def cell(column: Column, value: Any) -> str:
    """Return a value as a table shows it."""
    return UNKNOWN if value is None else clean(column.show(value))


def csv_lines(lines: Iterable[Sequence[Any]]) -> str:
    """Return lines of CSV; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    written = []
    for line in lines:
        held = io.StringIO()
        csv.writer(held).writerow([_guarded(value) for value in line])  # so a lone \r in a text is quoted, too
        written.append(held.getvalue().removesuffix("\r\n"))
    return "".join(f"{line}\n" for line in written)


def _guarded(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")  # every digit, and no exponent
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def clean(text: str) -> str:
    """Return a text without what would command a terminal or break a line."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "�" for letter in text)


def width(text: str) -> int:
    """Return how many places a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(bool(unicodedata.combining(letter)) for letter in text)


def pad(text: str, wide: int, *, right: bool = False) -> str:
    """Return a text of that width."""
    space = " " * max(0, wide - width(text))
    return space + text if right else text + space

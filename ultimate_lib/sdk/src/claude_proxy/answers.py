"""What the proxy answered: members by key and by attribute, rows as a data frame, calls page by page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from claude_proxy import frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

_KEY = re.compile(r"\b(cp_[A-Za-z0-9_-]{4})[A-Za-z0-9_-]{12,}")


class Answer(dict[str, Any]):
    """A JSON object whose members are there by key and by attribute: `answer["rows"]` is `answer.rows`.

    A member that is named as a method of `dict` (`keys`, `items`) is there by key alone. Shown, a key of the proxy is
    masked; `answer["key"]` is the key itself.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self)
            raise AttributeError(f"The answer has no '{name}'. It has: {known or 'nothing'}.") from None

    def __repr__(self) -> str:
        return mask(super().__repr__())


class Rows(Answer):
    """Rows of numbers (`rows`) and what they are about: `start`, `end`, `time_zone`, `units`, `unpriced_requests`."""

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a polars frame: instants as such, in the answer's time zone; unknown is null.

        Raises `ImportError` that names the package when polars is not installed.
        """
        return frames.to_polars(self["rows"], units=self.get("units"), time_zone=self.get("time_zone"))

    def to_pandas(self) -> Any:
        """Return the rows as a pandas frame. Raises `ImportError` that names the package when it is not installed."""
        return frames.to_pandas(self["rows"], units=self.get("units"), time_zone=self.get("time_zone"))


class Calls:
    """Calls, newest first; pages are asked for as they are needed. Iterate once, or take what is left as a frame."""

    def __init__(self, ask: Callable[[dict[str, Any]], Answer], most: int | None, page: int) -> None:
        self._ask = ask
        self._left = most
        self._page = page
        self._rows: list[Answer] = []
        self._cursor: str | None = None
        self._last = False
        self.missing: Answer | None = None  # of the span read so far: what could not be read and is not here

    def __iter__(self) -> Iterator[Answer]:
        return self

    def __next__(self) -> Answer:
        if self._left == 0:
            raise StopIteration
        while not self._rows:
            if self._last:
                raise StopIteration
            self._turn()
        if self._left is not None:
            self._left -= 1
        return self._rows.pop()

    def _turn(self) -> None:
        limit = self._page if self._left is None else min(self._page, self._left)
        page = self._ask({"limit": limit, "cursor": self._cursor})
        self._rows = list(reversed(page["rows"]))
        self._cursor = page.get("next_cursor")
        self._last = not self._cursor
        self.missing = page.get("missing")

    def to_polars(self) -> pl.DataFrame:
        """Return the calls that are left as a polars frame. Raises `ImportError` when polars is not installed."""
        frames.need("polars")  # before the calls are asked for
        return frames.to_polars(list(self))

    def to_pandas(self) -> Any:
        """Return the calls that are left as a pandas frame. Raises `ImportError` when pandas is not installed."""
        frames.need("pandas")
        return frames.to_pandas(list(self))


def mask(text: str) -> str:
    """Return the text with every key of the proxy in it cut to its beginning."""
    return _KEY.sub(r"\1…", text)

"""Importers: past calls from what other programs have kept. One importer is one file here, or an entry point.

A file offers `importer`, an object of the shape below; strangers offer the same under the entry point group
`ultimate_proxy.importer`. It finds files and reads them into rows and skips; `lake/importing.py` does the rest, the
same for all: prices, drops what the lake has already, writes.

    IMPORTERS.get("claude_code").sentence
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ultimate_lib.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ultimate_lib.records import CallRecord, Usage


class Row(NamedTuple):
    """A call found. The record lacks what importing adds: call_id, source, billing, tokens and cost."""

    record: CallRecord  # with upstream_id and started_at
    usage: Usage
    price_id: str  # provider id in the price list; the model is model_served
    request_id: str = ""  # makes the call one of its own beside its upstream_id; empty: the source does not say


class Skip(NamedTuple):
    """Something that is not taken. `where` is `file:line`; `expected` marks what every source of this kind holds."""

    reason: str
    where: str = ""
    expected: bool = False


class Found(NamedTuple):
    """Files to read, in order, and what was passed over while looking for them."""

    files: list[Path]
    skips: list[Skip]


class Importer(Protocol):
    """What a source of past calls offers."""

    sentence: str  # what it imports, for lists and help
    billing: str  # of its calls, unless told otherwise: metered | subscription | local

    def places(self, environment: Mapping[str, str]) -> list[Path]:
        """Return where such files usually are on this computer."""
        ...

    def find(self, places: Sequence[Path]) -> Found:
        """Return the files in some files and folders. Raises nothing: what cannot be read is a skip."""
        ...

    def read(self, files: Sequence[Path], now_us: int, progress: Callable[[int], None]) -> Iterator[Row | Skip]:
        """Yield each call once, oldest first, and everything that is no call with its reason.

        `progress` is told how many bytes have been read since it was last told. Calls that may still be going on at
        `now_us` (µs since 1970 UTC) are skips: a row is written once.
        """
        ...


IMPORTERS: Registry[Importer] = Registry("importer", __name__, "importer")
"""Every importer by name."""

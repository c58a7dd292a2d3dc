"""The lake: one immutable row per call in an open Delta table, and the one reader over it and the journal's tail.

lake = Lake.open(settings, SystemClock())
ingest.run_once(lake)                                     # the worker: journal → table, exactly once
reader.scan_calls(lake, start, end, ["cost_nano_usd"])    # everyone: committed rows and the journal's tail

lake_url/calls/                     the Delta table, one partition a UTC day
    date=2026-03-01/5f1c…-<sha256>.parquet
    _delta_log/
lake_url/manifest/calls/            SHA-256 of the log's files
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.lake import schema
from ultimate_lib.lake.delta import Table
from ultimate_lib.lake.manifest import Manifest
from ultimate_lib.lake.storage import open_storage
from ultimate_lib.lake.tail import Tail

if TYPE_CHECKING:
    from ultimate_lib.clock import Clock
    from ultimate_lib.settings import Settings

__all__ = ["Lake"]


class Lake:
    """The settings' lake. Cheap to make: nothing is opened before it is asked for; safe to share among threads."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.url = settings.lake_url
        self.journal_dir = settings.journal_dir
        self.storage = open_storage(settings)
        self.manifest = Manifest(self.storage)
        self.calls = Table(
            self.storage, self.manifest, "calls", schema.ARROW, order="started_at", encodings=schema.encodings
        )
        self.tail = Tail(self.journal_dir)

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Lake:
        """Return the lake that `settings` names."""
        return cls(settings, clock)

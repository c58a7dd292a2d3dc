"""SQLite stores as migrations leave them, without running them for each: they are most of what a small test costs."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from ultimate_lib.store import Store


@functools.cache
def _migrated() -> bytes:
    """Return the file of a store that has all tables and no rows."""
    with tempfile.TemporaryDirectory(prefix="ultimate-store-") as folder:
        path = Path(folder) / "store.sqlite"
        made = Store(f"sqlite:///{path}")
        made.migrate()
        made.close()  # its write-ahead log is in the file from here on
        return path.read_bytes()


def ready_store(url: str) -> Store:
    """Open a SQLite store that has all tables: a copy of an empty one, unless there is one already."""
    store = Store(url)
    assert store.path is not None
    if not store.path.exists():
        store.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        store.path.write_bytes(_migrated())
    return store

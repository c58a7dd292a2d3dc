"""Between which instants the calls table has gained rows since one of its versions; read from its log once a commit.

A commit that only rearranges files (`dataChange` false: optimize) changes nothing, and one that only removes files
takes nothing away from sums that were made before: old calls may be dropped while their rollups stay.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ultimate_lib.lake.spans import union

if TYPE_CHECKING:
    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.delta import Table
    from ultimate_lib.lake.spans import Span


_MOST_KEPT = 2000  # commits


class _Told:
    """What the log has told of versions `since`+1 to `version`: spans by the version at which they were read."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.version = since
        self.spans: list[tuple[int, list[Span]]] = []


_guard = threading.Lock()
_kept: WeakKeyDictionary[Lake, _Told] = WeakKeyDictionary()


def changed(lake: Lake, since: int) -> list[Span] | None:
    """Return spans that hold every row committed after version `since`; None when the log no longer tells.

    It does not when the table is another one (`since` is yet to come) or log files are gone or fail their checksum.
    """
    table = lake.calls
    with table.lock:
        version = table.snapshot().version
    if since > version:
        return None
    with _guard:
        told = _kept.get(lake)
        if told is None or not told.since <= since <= told.version:
            told = _Told(since)
        while told.version < version:
            with table.lock:
                version = table.snapshot().version
                files = table.added_since(told.version)
            if files is None or not _good(lake, table, told.version, version):
                _kept.pop(lake, None)
                return None
            # another writer's statistics may be cut to milliseconds
            told.spans.append((version, union((file.first_us, file.last_us + 1000) for file in files)))
            told.version = version
        if len(told.spans) > _MOST_KEPT:
            told.since = told.spans[-_MOST_KEPT - 1][0]
            del told.spans[:-_MOST_KEPT]
        _kept[lake] = told
        return union(span for version, spans in told.spans if version > since for span in spans)


def _good(lake: Lake, table: Table, since: int, version: int) -> bool:
    paths = [f"{table.name}/_delta_log/{number:020d}.json" for number in range(since + 1, version + 1)]
    return all(lake.manifest.good(paths))

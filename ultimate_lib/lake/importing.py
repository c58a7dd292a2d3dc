"""Past calls into the lake, each once: however often, from how many places at once, and whoever recorded it before.

    importing.run(lake, "claude_code", places, book=book)

A call is known by its upstream id and, if its source tells, its request id. What the proxy has recorded adds nothing;
nor does what was imported before. Every batch is compared with the lake as it is and committed under the next number
of the writer `import`; when another import got in between, that number is taken and the batch is compared anew. So a
kill between two commits leaves whole batches, and importing again goes on from there.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import NotFound, Unavailable
from ultimate_lib.lake import delta, reader, schema
from ultimate_lib.lake.importers import IMPORTERS, Found, Row, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.importers import Importer
    from ultimate_lib.pricing import Cost, PriceBook
    from ultimate_lib.records import CallRecord

WRITER = "import"
BATCH_ROWS = 20_000
_TRIES = 50
_MARGIN = timedelta(days=1)  # between the proxy's start of a call and the instant its client wrote down
_MOST_SAMPLES = 3
_TIME_DIGITS = 13  # of a UUIDv7's text: 48 bits and a dash


class Skipped(msgspec.Struct):
    """How often something was skipped for one reason, and the first places."""

    count: int = 0
    expected: bool = False
    samples: list[str] = []


class Sums(msgspec.Struct):
    """What the rows taken of one model add up to; money in nano-dollars, at the list price of each call's day."""

    calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    unpriced: int = 0


class Imported(msgspec.Struct, kw_only=True):
    """What an import did, or with `dry_run` would have done."""

    files: int = 0
    bytes: int = 0
    taken: int = 0
    present: int = 0  # in the lake already
    first_us: int | None = None  # of the rows taken
    last_us: int | None = None
    skipped: dict[str, Skipped] = {}
    models: dict[str, Sums] = {}
    missing_files: int = 0  # quarantined files of the lake in that span: what they hold counts as not there


def places_of(importer: Importer, lake: Lake, places: Sequence[Path]) -> Found:
    """Return the files in some places, or in the usual ones. Raises `NotFound`, which says where it looked."""
    absent = [place for place in places if not place.exists()]
    if absent:
        raise NotFound(f"There is no {absent[0]}.", hint="Name a file or a folder that exists.")
    looked = list(places) or importer.places(lake.settings.environment)
    found = importer.find([place for place in looked if place.exists()])
    if not found.files:
        told = [str(place) for place in looked] + [f"{skip.where} ({skip.reason})" for skip in found.skips]
        raise NotFound(
            f"There are no {importer.sentence} here. Looked in {', '.join(told)}.",
            hint="Name the files, or the folder that holds them.",
            code="nothing_to_import",
        )
    return found


def run(
    lake: Lake,
    name: str,
    places: Sequence[Path] = (),
    *,
    book: PriceBook,
    billing: str | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005 - nobody asks
) -> Imported:
    """Import with the importer `name` from some files and folders, or from where its files usually are.

    `billing` (metered | subscription | local) overrides the importer's own; `progress` learns bytes read and bytes to
    read. Raises `NotFound` when there is nothing to read, `Unavailable` when the lake cannot be written.
    """
    importer = IMPORTERS.get(name)
    found = places_of(importer, lake, places)
    sizes = [_size(path) for path in found.files]
    result = Imported(files=len(found.files), bytes=sum(sizes))
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress(done, result.bytes)

    for skip in found.skips:
        _count(result, skip)
    items = importer.read(found.files, lake.clock.now_us(), tell)
    for batch in _batches(items, result):
        for row in batch:
            _complete(row, book, billing or importer.billing)
        _take(lake, batch, result, dry_run=dry_run)
    return result


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # the reader says why
        return 0


def _batches(items: Iterable[Row | Skip], result: Imported) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for item in items:
        if isinstance(item, Skip):
            _count(result, item)
            continue
        batch.append(item)
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _count(result: Imported, skip: Skip) -> None:
    found = result.skipped.get(skip.reason)
    if found is None:
        found = result.skipped[skip.reason] = Skipped(expected=skip.expected)
    found.count += 1
    if skip.where and len(found.samples) < _MOST_SAMPLES:
        found.samples.append(skip.where)


# -- one row ----------------------------------------------------------------------------------------------------


def call_id(started_us: int, upstream_id: str, request_id: str) -> str:
    """Return an imported call's id: a UUIDv7 whose 74 bits come from what identifies the call, not from chance."""
    digest = blake2b(f"{upstream_id}\0{request_id}".encode(), digest_size=16).digest()
    bits = int.from_bytes(digest) & ((1 << 74) - 1)
    value = (started_us // 1000) << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _complete(row: Row, book: PriceBook, billing: str) -> None:
    """Write into a row's record what importing adds."""
    record, usage = row.record, row.usage
    record.call_id = call_id(record.started_at, record.upstream_id or "", row.request_id)
    record.source, record.billing = "import", billing
    for name in usage.__struct_fields__:
        if name != "cost_nano_usd":
            setattr(record, name, getattr(usage, name))
    if usage.cache_read_tokens is not None:
        record.cache_hit = usage.cache_read_tokens > 0
    _price(record, book.cost(row.price_id, record.model_served or "", usage, record.started_at))


def _price(record: CallRecord, cost: Cost | None) -> None:
    if cost is None:
        record.cost_source = "none"
        return
    record.cost_nano_usd, record.list_cost_nano_usd = cost.total, cost.listed
    record.input_cost_nano_usd, record.output_cost_nano_usd = cost.input, cost.output
    record.cache_read_cost_nano_usd, record.cache_write_cost_nano_usd = cost.cache_read, cost.cache_write
    record.other_cost_nano_usd = cost.other
    record.price_id, record.cost_source = cost.price_id, cost.source


# -- once ---------------------------------------------------------------------------------------------------------


def _take(lake: Lake, batch: list[Row], result: Imported, *, dry_run: bool) -> None:
    """Append what the lake does not have; compare anew when another import commits meanwhile."""
    for _ in range(_TRIES):
        with lake.calls.lock:
            lake.calls.snapshot()
            number = lake.calls.transaction(WRITER) + 1
        fresh, missing = _fresh(lake, batch)  # reads that snapshot or a later one
        records = [row.record for row in fresh]
        if dry_run or not fresh or _append(lake, records, number):
            result.present += len(batch) - len(fresh)
            result.missing_files = max(result.missing_files, missing)
            for record in records:
                _add(result, record)
            return
    raise Unavailable("Other imports write to the lake all the time.", hint="Try again.", code="lake_busy")


def _append(lake: Lake, records: list[CallRecord], number: int) -> bool:
    frame = schema.frame_from_records(records)
    return delta.append(lake, frame, transaction=(WRITER, number)) is not None


def _fresh(lake: Lake, batch: list[Row]) -> tuple[list[Row], int]:
    """Return the rows that the lake does not have, and how many of its files could not be looked into."""
    starts = [row.record.started_at for row in batch]
    start = to_datetime(min(starts)) - _MARGIN
    end = to_datetime(max(starts)) + _MARGIN
    ids = pl.Series([row.record.upstream_id for row in batch], dtype=pl.String).unique()
    there = (
        reader.scan_calls(lake, start, end, ["call_id", "upstream_id", "source"])
        .filter(pl.col("upstream_id").is_in(ids.implode()))
        .collect(engine="streaming")
    )
    known: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for own, upstream, source in there.iter_rows():
        known[upstream].append((source, own[_TIME_DIGITS:]))
    fresh = []
    for row in batch:
        of_message = known[row.record.upstream_id or ""]
        if not _is_there(row, of_message):
            fresh.append(row)
            of_message.append(("import", row.record.call_id[_TIME_DIGITS:]))
    return fresh, reader.missing(lake, start, end).files


def _is_there(row: Row, of_message: list[tuple[str, str]]) -> bool:
    """Say whether one of a message's rows is this call: the proxy's, the same request's, or one without a request."""
    if not of_message:
        return False
    own = {row.record.call_id[_TIME_DIGITS:], call_id(0, row.record.upstream_id or "", "")[_TIME_DIGITS:]}
    return not row.request_id or any(source != "import" or digits in own for source, digits in of_message)


def _add(result: Imported, record: CallRecord) -> None:
    result.taken += 1
    started = record.started_at
    result.first_us = started if result.first_us is None else min(result.first_us, started)
    result.last_us = started if result.last_us is None else max(result.last_us, started)
    sums = result.models.setdefault(record.model_served or "", Sums())
    sums.calls += 1
    sums.input_tokens += record.input_tokens or 0
    sums.cache_read_tokens += record.cache_read_tokens or 0
    sums.cache_write_tokens += (record.cache_write_5m_tokens or 0) + (record.cache_write_1h_tokens or 0)
    sums.output_tokens += record.output_tokens or 0
    sums.cost_nano_usd += record.cost_nano_usd or 0
    sums.unpriced += record.cost_nano_usd is None

"""The one door to Delta: tables that are appended to and compacted by compare-and-set on their log.

Data files are made and named here (manifest.py says how), then committed by a transaction that names them. Each
commit states what it relies on (the writers' transaction numbers, files that are still live), reads that on the
very handle it commits with, and asks for exactly the next version: Delta's own retry would let a stale handle
remove a file twice, and a fresh handle accepts a transaction number that is there already. Whoever loses reloads
and looks again.
"""

from __future__ import annotations

import io
import json
import logging
import random
import threading
import time
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ultimate_lib.clock import to_us
from ultimate_lib.errors import Corrupt, Unavailable
from ultimate_lib.journal.lines import sync_file, sync_folder
from ultimate_lib.lake.files import File, Snapshot, add_action, from_handle, from_log, remove_action
from ultimate_lib.lake.manifest import file_name
from ultimate_lib.lake.storage import unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from deltalake.transaction import AddAction, RemoveAction

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.manifest import Manifest
    from ultimate_lib.lake.storage import Storage

log = logging.getLogger(__name__)

_TRIES = 40
_ROW_GROUP = 256 * 1024
_CONFIGURATION = {
    "delta.checkpointInterval": "1000000000",  # `maintain` makes them, not a commit in passing
    "delta.logRetentionDuration": "interval 6 hours",  # a listing of the log stays short
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
_NO_HOOK = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Table:
    """One Delta table of the lake, partitioned by `date`, each file ordered by one column of instants."""

    def __init__(
        self,
        storage: Storage,
        manifest: Manifest,
        name: str,
        schema: pa.Schema,
        *,
        order: str,
        encodings: Callable[[int], Mapping[str, str]] | None = None,
    ) -> None:
        self.name = name
        self.lock = threading.RLock()  # hold it to read a snapshot and transaction numbers that belong together
        self._storage = storage
        self._manifest = manifest
        self._schema = schema
        self._order = order
        self._encodings = encodings or (lambda _rows: {})
        self.vacuumed: float | None = None  # when this process last did, on its monotonic clock
        self._handle: DeltaTable | None = None
        self._snapshot = Snapshot(-1, ())

    # -- reading ------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the table as it is now. Raises `Corrupt` when its log cannot be trusted."""
        with self.lock:
            handle = self._refreshed()
            if handle is None:
                self._snapshot = Snapshot(-1, ())
            elif handle.version() != self._snapshot.version:
                version = handle.version()
                bad = self._manifest.bad_log_file(self.name, version)
                if bad is not None:
                    self._handle = None
                    raise Corrupt(
                        f"The lake's log file {bad} fails its checksum.",
                        hint="Restore it from a backup; calls stay in the journal until then.",
                        code="lake_log",
                    )
                self._snapshot = Snapshot(version, tuple(from_handle(handle, self._order)))
            return self._snapshot

    def transaction(self, writer: str) -> int:
        """Return the highest number that `writer` has committed as of the last snapshot; 0 for none."""
        with self.lock:
            return 0 if self._handle is None else self._handle.transaction_version(writer) or 0

    def path(self, file: File) -> str:
        """Return a file's path relative to the lake."""
        return f"{self.name}/{file.path}"

    def url(self, file: File) -> str:
        """Return a file's address for polars."""
        return self._storage.url(self.path(file))

    def _refreshed(self) -> DeltaTable | None:
        try:
            if self._handle is not None:
                if not self._is_newest(self._handle.version()):
                    self._handle.update_incremental()
                return self._handle
        except DeltaError as error:
            log.warning("lake: %s is opened anew (%s).", self.name, _first_line(error))
            self._handle = None
        try:
            self._handle = DeltaTable(self._storage.url(self.name), storage_options=self._storage.options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            if self._storage.local(self.name) is None:
                raise Unavailable(
                    f"The lake at {self._storage.url(self.name)} does not answer ({_first_line(error)}).",
                    hint="Check data.lake_url, the AWS_* variables and the network; calls stay in the journal.",
                    code="lake_unreachable",
                ) from error
            raise Corrupt(
                f"The table {self.name} of the lake cannot be opened ({_first_line(error)}).",
                hint="Restore its _delta_log from a backup; calls stay in the journal until then.",
                code="lake_log",
            ) from error
        return self._handle

    def decode(self, data: bytes) -> pl.DataFrame:
        """Return the rows of a data file's bytes, with columns it does not have yet as nulls."""
        table = pq.read_table(io.BytesIO(data))
        for field in self._schema:
            if field.name not in table.schema.names:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        return pl.DataFrame(table.select(self._schema.names))

    def added_since(self, version: int) -> list[File] | None:
        """Return the files with new rows that were committed after `version`, merged files not among them.

        None when the log no longer reaches back to it (it is kept for some hours): look at every file then.
        """
        with self.lock:
            now = self.snapshot().version
            added: list[File] = []
            for number in range(version + 1, now + 1):
                try:
                    text = self._storage.read(f"{self.name}/_delta_log/{number:020d}.json")
                except FileNotFoundError:
                    return None
                actions = [json.loads(line) for line in text.splitlines() if line]
                added += [
                    from_log(action["add"], self._order)
                    for action in actions
                    if "add" in action and action["add"]["dataChange"]
                ]
            return added

    def _is_newest(self, version: int) -> bool:
        """Say by two looks at a folder that no later version is there; milliseconds less than to ask Delta."""
        here = self._storage.local(f"{self.name}/_delta_log/{version:020d}.json")
        if here is None:
            return False
        return here.exists() and not here.with_name(f"{version + 1:020d}.json").exists()

    # -- writing ------------------------------------------------------------------------------------------------

    def write(self, frame: pl.DataFrame, *, modified_ms: int | None = None) -> list[File]:
        """Write rows as data files, one a UTC date, ordered; nobody sees them before `commit`.

        Raises `Unavailable` when the storage takes none.
        """
        modified = time.time_ns() // 1_000_000 if modified_ms is None else modified_ms
        frame = frame.sort(self._order).with_columns(pl.col(self._order).dt.date().alias("date"))
        files = []
        for (day,), part in frame.partition_by("date", as_dict=True, include_key=False).items():
            data = self._parquet(part)
            path = f"date={day}/{file_name(data)}"
            self._storage.write(f"{self.name}/{path}", data)
            first, last = to_us(part[self._order][0]), to_us(part[self._order][-1])
            files.append(File(path, day, part.height, len(data), first, last, modified))
        return files

    def _parquet(self, frame: pl.DataFrame) -> bytes:
        table = frame.select(self._schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
        encodings = {self._order: "DELTA_BINARY_PACKED", **self._encodings(frame.height)}
        encodings = {name: encoding for name, encoding in encodings.items() if name in self._schema.names}
        sink = io.BytesIO()
        pq.write_table(
            table,
            sink,
            store_schema=False,  # plain Parquet for every reader
            compression="zstd",
            row_group_size=_ROW_GROUP,
            write_statistics=[self._order],  # of no other column, identities least of all
            use_dictionary=[name for name in self._schema.names if name not in encodings],
            column_encoding=encodings,
        )
        return sink.getvalue()

    def commit(
        self,
        adds: Sequence[File],
        removes: Sequence[File] = (),
        *,
        transactions: Mapping[str, int] | None = None,
        expected: Mapping[str, int] | None = None,
        rearranged: bool = False,
    ) -> int | None:
        """Commit files and transaction numbers at once and return the new version.

        Return None, and delete `adds` again, when what it relies on has changed meanwhile: a writer's number is no
        longer what `expected` says (without it: no longer below the new one), or a file of `removes` is gone.
        `rearranged` says that the rows are the same as before. Raises `Unavailable`.
        """
        numbers = dict(transactions or {})
        for attempt in range(_TRIES):
            with self.lock:
                handle = self._created()
                live = {file.path for file in self.snapshot().files}
                if attempt and adds and adds[0].path in live:
                    return self._snapshot.version  # an earlier try went through although it seemed to fail
                present = {writer: handle.transaction_version(writer) or 0 for writer in numbers}
                stale = any(
                    present[writer] != expected[writer] if expected is not None else present[writer] >= number
                    for writer, number in numbers.items()
                )
                if stale or any(file.path not in live for file in removes):
                    self.discard(adds)
                    return None
                version = handle.version() + 1
                actions: list[AddAction | RemoveAction] = [
                    add_action(file, self._order, rearranged=rearranged) for file in adds
                ]
                actions += [remove_action(file, rearranged=rearranged) for file in removes]
                if self._try(handle, actions, numbers):
                    self._settle(version)
                    return version
            time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - only spreads the tries
        raise Unavailable(  # the files stay for the vacuum: the last try may have gone through
            f"The table {self.name} of the lake is written by too many at once.", hint="Try again.", code="lake_busy"
        )

    def _try(self, handle: DeltaTable, actions: list[AddAction | RemoveAction], numbers: Mapping[str, int]) -> bool:
        properties = CommitProperties(
            max_commit_retries=0,
            app_transactions=[Transaction(writer, number) for writer, number in numbers.items()],
        )
        try:
            handle.create_write_transaction(
                actions,
                "append",
                self._with_date(),
                ["date"],
                commit_properties=properties,
                post_commithook_properties=_NO_HOOK,
            )
        except CommitFailedError:
            return False
        except (DeltaError, OSError) as error:
            raise unwritable(self._storage.url(self.name), error) from error
        return True

    def _settle(self, version: int) -> None:
        """Bring a commit to the disk itself and write down its checksum; what fails here is healed later."""
        path = f"{self.name}/_delta_log/{version:020d}.json"
        try:
            local = self._storage.local(path)
            if local is not None:
                _sync(local)
            self._manifest.record(path)
        except (OSError, Unavailable) as error:
            log.warning("lake: the checksum of %s waits for the next pass (%s).", path, error)

    def last_checkpoint(self) -> int:
        """Return the version of the newest checkpoint; 0 without one."""
        names = self._storage.names(f"{self.name}/_delta_log")
        return max((int(name[:20]) for name in names if ".checkpoint" in name), default=0)

    def checkpoint(self) -> None:
        """Write the table's state in one file and drop log files that are hours older."""
        with self.lock:
            handle = self._refreshed()
            if handle is not None:
                try:
                    handle.create_checkpoint()
                    handle.cleanup_metadata()
                except (DeltaError, OSError) as error:
                    raise unwritable(self._storage.url(self.name), error) from error

    def vacuum(self, keep_hours: int) -> int:
        """Delete files that the table let go of at least `keep_hours` ago, and return how many."""
        with self.lock:
            handle = self._refreshed()
            if handle is None:
                return 0
            try:
                gone = handle.vacuum(keep_hours, dry_run=True, enforce_retention_duration=False, full=True)
                if gone:
                    handle.vacuum(
                        keep_hours,
                        dry_run=False,
                        enforce_retention_duration=False,
                        full=True,
                        post_commithook_properties=_NO_HOOK,
                    )
            except (DeltaError, OSError) as error:
                raise unwritable(self._storage.url(self.name), error) from error
            return len(gone)

    def discard(self, files: Sequence[File]) -> None:
        """Delete data files that no commit has named."""
        for file in files:
            self._storage.delete(self.path(file))

    def _created(self) -> DeltaTable:
        handle = self._refreshed()
        if handle is None:
            configuration = {**_CONFIGURATION, "delta.dataSkippingStatsColumns": self._order}
            try:
                DeltaTable.create(
                    self._storage.url(self.name),
                    self._with_date(),
                    mode="ignore",
                    partition_by=["date"],
                    configuration=configuration,
                    storage_options=self._storage.options,
                )
            except (DeltaError, OSError) as error:
                handle = self._refreshed()  # another process may have made it at the same moment
                if handle is None:
                    raise unwritable(self._storage.url(self.name), error) from error
            handle = self._refreshed()
        if handle is None:
            raise Unavailable(f"The table {self.name} of the lake is gone.", hint="Try again.", code="lake_gone")
        return self._widened(handle)

    def _widened(self, handle: DeltaTable) -> DeltaTable:
        """Add the columns that this program writes and the one that made the table did not."""
        present = {field.name for field in handle.schema().fields}
        missing = [field for field in DeltaSchema.from_arrow(self._schema).fields if field.name not in present]
        if missing:
            try:
                handle.alter.add_columns(missing)
            except CommitFailedError:
                log.info("lake: another process widens the table %s.", self.name)
            handle.update_incremental()
        return handle

    def _with_date(self) -> pa.Schema:
        return self._schema.append(pa.field("date", pa.date32()))


def append(lake: Lake, frame: pl.DataFrame, *, transaction: tuple[str, int] | None = None) -> int | None:
    """Append rows to the calls and return the table's new version; None when that transaction is there already.

    `transaction` is (writer, number): a number at or below the highest one that the writer has committed adds
    nothing, so that a caller who does not know whether it got through may simply try again.
    Raises `Unavailable` when the lake cannot be written.
    """
    numbers = {} if transaction is None else {transaction[0]: transaction[1]}
    with lake.calls.lock:
        lake.calls.snapshot()
        if any(lake.calls.transaction(writer) >= number for writer, number in numbers.items()):
            return None
    return lake.calls.commit(lake.calls.write(frame), transactions=numbers)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        sync_file(file.fileno())
    sync_folder(path.parent)

"""The table: transactions once, losers look again, merges keep every row, days leave whole."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.lake.conftest import END, START, START_US, expected, ids, open_lake, record
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Invalid, Unavailable
from ultimate_lib.lake import Lake, optimize, retention, schema
from ultimate_lib.lake.delta import append


def one(number: int, **members: object) -> object:
    return schema.frame_from_records([record(number, **members)])


def test_a_transaction_is_committed_once_from_any_handle(lake: Lake, tmp_path: Path) -> None:
    other = open_lake(tmp_path)
    other.calls.snapshot()
    assert append(lake, one(1), transaction=("w", 5)) == 1
    assert append(lake, one(1), transaction=("w", 5)) is None
    assert append(other, one(1), transaction=("w", 5)) is None, "a stale handle"
    assert append(open_lake(tmp_path), one(1), transaction=("w", 4)) is None, "a fresh handle, a lower number"
    assert append(other, one(2), transaction=("w", 6)) == 2
    assert append(lake, one(3), transaction=("v", 1)) == 3
    assert ids(lake) == expected(3, first=1)
    files = list((tmp_path / "lake" / "calls").glob("date=*/*.parquet"))
    assert len(files) == 3, "losers take their files away"


def test_many_writers_at_once_lose_and_double_nothing(lake: Lake, tmp_path: Path) -> None:
    def write(first: int) -> None:
        own = open_lake(tmp_path)
        for number in range(first, first + 10):
            for _ in range(2):  # as one would who does not know whether it got through
                append(own, one(number), transaction=(f"w{first % 20}", number + 1))

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids(lake))) == len(ids(lake))
    assert set(ids(lake)) >= set(expected(10, first=20)) | set(expected(10, first=30)), "the higher numbers win"


def test_a_commit_that_went_through_unseen_is_not_taken_back(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    real = lake.calls._try
    tries: list[int] = []

    def answered_wrongly(*told: object) -> bool:
        tries.append(1)
        return real(*told) and len(tries) > 1

    monkeypatch.setattr(lake.calls, "_try", answered_wrongly)
    assert append(lake, one(1), transaction=("w", 1)) == 1
    assert ids(lake) == ["call-000001"]
    assert len(tries) == 1


def test_two_merges_of_the_same_files_leave_each_row_once(lake: Lake, tmp_path: Path) -> None:
    for number in range(6):
        append(lake, one(number))
    first, second = open_lake(tmp_path), open_lake(tmp_path)
    files = {name: list(opened.calls.snapshot().files) for name, opened in (("a", first), ("b", second))}
    assert optimize._merge(first, first.calls, files["a"]) == 6
    assert optimize._merge(second, second.calls, files["b"]) == 0
    assert ids(lake) == expected(6)
    assert [file.rows for file in lake.calls.snapshot().files] == [6]


def test_a_merge_goes_through_beside_an_append(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        append(lake, one(number))
    other = open_lake(tmp_path)
    real = lake.calls.write

    def slowly(frame: object) -> object:
        append(other, one(4))
        return real(frame)

    monkeypatch.setattr(lake.calls, "write", slowly)
    assert optimize._merge(lake, lake.calls, list(lake.calls.snapshot().files)) == 4
    assert ids(other) == expected(5)


def test_maintenance_merges_checkpoints_and_vacuums_what_readers_no_longer_need(
    lake: Lake, tmp_path: Path, clock: SteppedClock
) -> None:
    reader = open_lake(tmp_path)
    for number in range(60):
        append(lake, one(number), transaction=("w", number + 1))
    assert len(ids(reader)) == 60
    done = optimize.maintain(lake)
    assert (done.merged, done.checkpointed) == (60, True)
    assert ids(reader) == ids(lake) == expected(60)
    assert len(lake.calls.snapshot().files) == 1
    assert len(list((tmp_path / "lake/calls").glob("date=*/*.parquet"))) == 61, "older readers still find theirs"
    assert optimize.maintain(lake) == (0, False, 0, 0), "nothing more is due"
    assert open_lake(tmp_path).calls.snapshot().version == lake.calls.snapshot().version
    assert append(open_lake(tmp_path), one(1), transaction=("w", 60)) is None, "numbers outlive the checkpoint"


def test_vacuum_takes_what_is_old_and_no_more(lake: Lake, tmp_path: Path) -> None:
    for number in range(3):
        append(lake, one(number))
    optimize._merge(lake, lake.calls, list(lake.calls.snapshot().files))
    folder = tmp_path / "lake/calls/date=2026-03-01"
    (folder / "orphan.parquet").write_bytes(b"left by a kill between file and commit")
    assert lake.calls.vacuum(1) == 0
    assert len(list(folder.iterdir())) == 5
    assert lake.calls.vacuum(0) >= 3
    assert ids(lake) == expected(3)


def test_a_reader_that_slept_while_the_log_was_cut_short_sees_everything(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, one(0), transaction=("w", 1))
    reader = open_lake(tmp_path)
    assert ids(reader) == expected(1)
    DeltaTable(str(tmp_path / "lake/calls")).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 0 seconds"}
    )
    for number in range(1, 8):
        append(lake, one(number), transaction=("w", number + 1))
    time.sleep(1.1)
    lake.calls.checkpoint()
    append(lake, one(8), transaction=("w", 9))
    logs = sorted((tmp_path / "lake/calls/_delta_log").glob("*.json"))
    assert len(logs) < 4, "the log was cut"
    assert ids(reader) == expected(9)
    assert reader.calls.transaction("w") == 9
    assert reader.calls.added_since(1) is None
    assert [file.rows for file in reader.calls.added_since(reader.calls.snapshot().version - 1) or []] == [1]
    optimize.maintain(lake)
    recorded = {path.name for path in (tmp_path / "lake/manifest/calls/_delta_log").iterdir()}
    assert {f"{path.name}.sha256" for path in logs} <= recorded
    assert len(recorded) < 6, "checksums go with their files"


def test_new_rows_are_told_by_version_and_merges_are_not(lake: Lake) -> None:
    start = append(lake, one(0))
    append(lake, one(1, started_at=START_US + 3 * 86_400_000_000))
    optimize._merge(lake, lake.calls, list(lake.calls.snapshot().files))
    append(lake, one(2))
    added = lake.calls.added_since(start)
    assert [(str(file.date), file.rows) for file in added] == [("2026-03-04", 1), ("2026-03-01", 1)]
    assert added[0].first_us == START_US + 3 * 86_400_000_000


def test_days_leave_whole_and_only_when_they_are_old_enough(lake: Lake, clock: SteppedClock) -> None:
    clock.advance(9 * 86_400)  # now 11 March
    for day in range(10):
        append(lake, one(day, started_at=START_US + day * 86_400_000_000))
    assert retention.drop(lake, None) == (0, 0, 0)
    assert retention.drop(lake, 7) == (3, 3, 3)
    assert retention.drop(lake, 7) == (0, 0, 0)
    assert ids(lake) == expected(7, first=3)
    with pytest.raises(Invalid):
        retention.drop(lake, 0)


def test_an_unwritable_lake_is_a_sentence_and_a_readable_one_still_reads(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file where the folder should be")
    blocked = open_lake(tmp_path)
    with pytest.raises(Unavailable, match="cannot be written") as told:
        append(blocked, one(1))
    assert "data.lake_url" in told.value.hint
    assert ids(blocked) == []


def test_a_lake_that_is_another_process_work_in_progress_is_seen_at_once(lake: Lake, tmp_path: Path) -> None:
    assert ids(lake) == []
    append(open_lake(tmp_path), one(1))
    assert ids(lake) == ["call-000001"]
    assert ids(lake, START, END - timedelta(days=1)) == ["call-000001"]

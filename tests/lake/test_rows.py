"""Every column comes back as it was written, through the journal, the table and both at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.lake.conftest import END, START, START_US, expected, full_record, ids, record
from ultimate_lib.errors import Invalid
from ultimate_lib.journal import JournalWriter
from ultimate_lib.journal.lines import CALL, frame
from ultimate_lib.lake import Lake, ingest, schema
from ultimate_lib.lake.delta import append
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.records import COLUMNS, CallRecord, as_mapping


def rows(lake: Lake) -> list[dict[str, object]]:
    found = scan_calls(lake, START, END).collect()
    assert found.schema == schema.POLARS
    return found.sort("call_id").to_dicts()


def as_row(call: CallRecord) -> dict[str, object]:
    row = as_mapping(call)
    row["started_at"] = START + timedelta(microseconds=call.started_at - START_US)
    return row


def test_every_column_comes_back_from_the_tail_and_from_the_table(
    lake: Lake, open_writer: Callable[..., JournalWriter]
) -> None:
    calls = [
        full_record(1),
        full_record(2),
        record(3, app=None, tags=[]),
        CallRecord(call_id="z", started_at=START_US),
    ]
    writer = open_writer()
    for call in calls:
        writer.call(call)
    truth = sorted((as_row(call) for call in calls), key=lambda row: str(row["call_id"]))
    assert rows(lake) == truth, "from the tail"
    writer.close()
    assert ingest.run_once(lake).rows == 4
    assert lake.tail.frame(lake.calls.transaction).height == 0
    assert rows(lake) == truth, "from the table"
    assert None not in truth[-2].values(), "a full record fills every column"


def test_frames_from_records_and_from_lines_are_equal() -> None:
    calls = [full_record(1), record(2)]
    lines = b"".join(frame(CALL, call) for call in calls)
    assert schema.frame_from_lines(lines).equals(schema.frame_from_records(calls))
    assert schema.frame_from_lines(b"").equals(schema.empty())
    assert schema.frame_from_records([]).schema == schema.POLARS


@pytest.mark.parametrize(
    "wrong",
    [
        b'"input_tokens":"many"',
        b'"http_status":70000',
        b'"input_tokens":1.5',
        b'"tags":"x"',
        b'"max_tokens":18446744073709551615',
    ],
)
def test_a_line_of_the_wrong_type_takes_no_other_with_it(wrong: bytes) -> None:
    good = frame(CALL, record(1)).rstrip(b"\n")
    bad = b'{"k":"call","call_id":"bad","started_at":1,' + wrong + b',"crc":"00000000"}'
    parsed = schema.parse_lines(good + b"\n" + bad)
    assert parsed.rejected == [bad]
    assert parsed.frame["call_id"].to_list() == ["call-000001"]


def test_a_span_takes_its_start_and_leaves_its_end(lake: Lake) -> None:
    append(lake, schema.frame_from_records([record(number) for number in range(10)]))
    second = timedelta(seconds=1)
    assert ids(lake, START + 3 * second, START + 6 * second) == expected(3, first=3)
    assert ids(lake, START + 6 * second, START + 3 * second) == []
    with pytest.raises(Invalid, match="time zone"):
        scan_calls(lake, START.replace(tzinfo=None), END)
    with pytest.raises(Invalid, match="'cost'"):
        scan_calls(lake, START, END, ["cost"])


def test_an_empty_lake_answers_with_the_schema(lake: Lake) -> None:
    found = scan_calls(lake, START, END, ["started_at", "cost_nano_usd"]).collect()
    assert found.shape == (0, 2)
    assert found.schema == {"started_at": pl.Datetime("us", "UTC"), "cost_nano_usd": pl.Int64()}


def test_days_are_utc_files_are_in_order_and_tell_nothing_of_identities(lake: Lake) -> None:
    late = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    at = [int(late.timestamp() * 1_000_000) + offset for offset in (1, 0, -5_000_000)]
    append(lake, schema.frame_from_records([full_record(n) for n in range(3)]))
    append(lake, schema.frame_from_records([record(n, started_at=us) for n, us in enumerate(at)]))
    files = lake.calls.snapshot().files
    assert sorted((str(file.date), file.rows) for file in files) == [
        ("2026-03-01", 2), ("2026-03-01", 3), ("2026-03-02", 1),
    ]  # fmt: skip
    for file in files:
        written = pq.ParquetFile(lake.calls.url(file))
        started = written.read(["started_at"])["started_at"].to_pylist()
        assert started == sorted(started)
        group = written.metadata.row_group(0)
        told = {group.column(n).path_in_schema for n in range(group.num_columns) if group.column(n).is_stats_set}
        assert told == {"started_at"}
    log = b"".join(lake.storage.read(f"calls/_delta_log/{n:020d}.json") for n in (1, 2))
    assert b"call-0000" not in log
    assert b"full-" not in log
    assert any(column.identity for column in COLUMNS)


def test_a_span_reads_only_the_files_it_needs(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(5):
        append(lake, schema.frame_from_records([record(day, started_at=START_US + day * 86_400_000_000)]))
    asked: list[str] = []
    real = lake.manifest.good
    monkeypatch.setattr(lake.manifest, "good", lambda paths: (asked.extend(paths), real(paths))[1])
    assert ids(lake, START + timedelta(days=2), START + timedelta(days=3)) == ["call-000002"]
    assert len(asked) == 1
    assert "date=2026-03-03" in asked[0]


def test_a_table_of_an_older_schema_is_widened_and_read(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = lake.calls._schema
    monkeypatch.setattr(lake.calls, "_schema", newer.remove(newer.get_field_index("tags")))
    append(lake, schema.frame_from_records([record(1)]))
    monkeypatch.setattr(lake.calls, "_schema", newer)
    append(lake, schema.frame_from_records([record(2, tags=["a=b"])]))
    found = scan_calls(lake, START, END).collect().sort("call_id")
    assert found["tags"].to_list() == [None, ["a=b"]]
    assert found.schema == schema.POLARS


@pytest.mark.parametrize("number", [2**63, 2**64, 10**30])
def test_a_number_that_no_column_holds_takes_no_other_row_with_it(number: int) -> None:
    good, bad = (frame(CALL, record(1)).rstrip(), frame(CALL, record(2, max_tokens=number)).rstrip())
    parsed = schema.parse_lines(good + b"\n" + bad)
    assert parsed.rejected == [bad]
    assert parsed.frame["call_id"].to_list() == ["call-000001"]

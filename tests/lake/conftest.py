"""A lake in a temporary folder, writers for its journal, and records of every kind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ultimate_lib.clock import SteppedClock, SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.records import COLUMNS, CallRecord
from ultimate_lib.settings import Record, load

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=30)
START_US = int(START.timestamp() * 1_000_000)


def record(number: int, **members: object) -> CallRecord:
    """Return a small record; each starts a second after the one before."""
    members.setdefault("started_at", START_US + number * 1_000_000)
    members.setdefault("input_tokens", number)
    return CallRecord(call_id=f"call-{number:06d}", provider="demo", **members)


def full_record(number: int) -> CallRecord:
    """Return a record with a value in every column, at the edges of what each holds."""
    values: dict[str, object] = {
        "string": f'ünïcode 🦜 " \\ \n {number}',
        "int64": 2**63 - 1 - number,
        "int32": -(2**31) + number,
        "int16": 2**15 - 1,
        "float32": 0.5,
        "bool": number % 2 == 0,
        "strings": ["run=7", "größe=XL", ""],
    }
    members = {column.name: values[column.type] for column in COLUMNS if column.type != "timestamp"}
    return CallRecord(**{**members, "call_id": f"full-{number}", "started_at": START_US + number})


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(START + timedelta(days=1))


@pytest.fixture
def lake(tmp_path: Path, clock: SteppedClock) -> Lake:
    return open_lake(tmp_path, clock)


def open_lake(folder: Path, clock: SteppedClock | SystemClock | None = None) -> Lake:
    settings = load(environ={}, overrides={"data.folder": str(folder)})
    return Lake.open(settings, clock or SystemClock())


@pytest.fixture
def open_writer(lake: Lake) -> Callable[..., JournalWriter]:
    def opened(**settings: object) -> JournalWriter:
        return JournalWriter(lake.journal_dir, "0", Record(**settings), SystemClock())

    return opened


def ids(lake: Lake, start: datetime = START, end: datetime = END) -> list[str]:
    """Return the call ids a reader sees, sorted, doubles and all."""
    return scan_calls(lake, start, end, ["call_id"]).collect()["call_id"].sort().to_list()


def expected(count: int, first: int = 0) -> list[str]:
    return [f"call-{number:06d}" for number in range(first, first + count)]

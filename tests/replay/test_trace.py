"""Reading traces: the two clocks that public ones have, and a sentence for everything that is none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from proxy_server.replay.trace import NEEDED, read_trace
from ultimate_lib.errors import Invalid, NotFound

TOKENS = {"input_tokens": [10, 20, 30], "output_tokens": [1, 2, 3]}


def save(path: Path, **columns: list[object]) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


def test_arrivals_are_ordered_and_begin_at_zero(tmp_path: Path) -> None:
    when = [datetime(2023, 11, 16, 18, 0, second, tzinfo=UTC) for second in (9, 4, 5)]
    trace = read_trace(save(tmp_path / "t.parquet", timestamp=when, **TOKENS))
    assert trace.due_s == [0.0, 1.0, 5.0]
    assert (trace.input_tokens, trace.output_tokens) == ([20, 30, 10], [2, 3, 1])
    assert read_trace(tmp_path / "t.parquet", 2).output_tokens == [2, 3]
    naive = pl.read_parquet(tmp_path / "t.parquet").with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    naive.write_parquet(tmp_path / "n.parquet")
    assert read_trace(tmp_path / "n.parquet") == trace


def test_milliseconds_and_seconds_as_numbers(tmp_path: Path) -> None:
    milli = save(tmp_path / "m.parquet", timestamp_ms=[1500, 0, 0], **TOKENS)
    assert read_trace(milli).due_s == [0.0, 0.0, 1.5]
    assert read_trace(save(tmp_path / "s.parquet", timestamp=[7.0, 5.5, 5.0], **TOKENS)).due_s == [0.0, 0.5, 2.0]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"timestamp": [1, 2, 3], "input_tokens": [1, 2, 3]}, "lacks output_tokens; it has input_tokens, timestamp"),
        ({"when": [1]}, "lacks timestamp, input_tokens, output_tokens; it has when"),
        ({"timestamp": [1, None, 3], **TOKENS}, "timestamp is null in 1 of 3 rows, first in row 1"),
        ({"timestamp": [1], "input_tokens": [None], "output_tokens": [1]}, "input_tokens is null in 1 of 1 rows"),
        ({"timestamp": [1, 2], "input_tokens": [5, -7], "output_tokens": [1, 1]}, "input_tokens is -7 in row 1"),
        (
            {"timestamp": [1], "input_tokens": [5], "output_tokens": [10**12]},
            "output_tokens is 1000000000000 in row 0",
        ),
        (
            {"timestamp": [1], "input_tokens": [5.5], "output_tokens": [1]},
            "input_tokens is Float64, not whole numbers",
        ),
        ({"timestamp": ["noon"], "input_tokens": [5], "output_tokens": [1]}, "timestamp is String, neither"),
        ({"timestamp": [float("nan")], "input_tokens": [5], "output_tokens": [1]}, "not numbers"),
    ],
)
def test_a_file_that_is_no_trace_says_what_is_wrong_and_what_is_needed(
    tmp_path: Path, columns: dict[str, list[object]], told: str
) -> None:
    path = save(tmp_path / "t.parquet", **columns)
    with pytest.raises(Invalid) as caught:
        read_trace(path)
    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint == NEEDED


def test_no_file_no_rows_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no file"):
        read_trace(tmp_path / "nowhere.parquet")
    with pytest.raises(NotFound, match="There is no file"):
        read_trace(tmp_path)
    empty = save(tmp_path / "e.parquet", timestamp=[1], input_tokens=[1], output_tokens=[1])
    pl.read_parquet(empty).clear().write_parquet(empty)
    with pytest.raises(Invalid, match="has no rows"):
        read_trace(empty)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(
        save(tmp_path / "w.parquet", timestamp=[1], input_tokens=[1], output_tokens=[1]).read_bytes()[:90]
    )
    text = tmp_path / "text.parquet"
    text.write_text("timestamp,input_tokens,output_tokens\n1,2,3\n", encoding="utf-8")
    for path in (torn, text):
        with pytest.raises(Invalid, match="cannot be read as Parquet"):
            read_trace(path)

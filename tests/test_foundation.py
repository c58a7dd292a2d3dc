"""The ground the rest stands on: errors, clock, records, registry; and that importing it stays cheap."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from ultimate_lib import errors, records
from ultimate_lib.clock import SteppedClock, SystemClock
from ultimate_lib.errors import Denied, Invalid, NotFound, UltimateError
from ultimate_lib.records import CallRecord
from ultimate_lib.registry import Registry


def test_every_error_has_a_code_a_status_and_its_place_in_the_drawn_tree() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UltimateError)]
    codes = {kind.code for kind in tree}
    assert len(codes) == len(tree)
    for kind in tree:
        assert 400 <= kind.http_status < 600
        assert kind.__name__ in (errors.__doc__ or "")


def test_an_unknown_caller_is_401_and_a_known_one_403() -> None:
    assert Denied("no").http_status == 403
    assert Denied("who?", authenticated=False).http_status == 401
    assert Denied.http_status == 403
    assert str(Invalid("Wrong.", hint="Do this.")) == "Wrong. Do this."


def test_wall_time_may_step_back_and_monotonic_time_may_not() -> None:
    clock = SteppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.step_wall(-3600)
    clock.advance(1.5)
    assert clock.now() == datetime(2025, 12, 31, 23, 0, 1, 500000, tzinfo=UTC)
    assert clock.now_us() == int(clock.now().timestamp() * 1_000_000)
    assert clock.monotonic() == 1.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    assert abs(SystemClock().now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_record_survives_its_encoding_and_leaves_nulls_out() -> None:
    call = CallRecord(call_id=records.new_call_id(), started_at=1, tags=["team=a"], cost_nano_usd=0)
    line = records.encode(call)
    assert records.decode(line) == call
    assert b"null" not in line
    assert b'"cost_nano_usd":0' in line, "zero is a statement and stays"


def test_every_column_is_null_unless_said() -> None:
    blank = records.as_mapping(CallRecord(call_id="x", started_at=1))
    assert {name for name, value in blank.items() if value is not None} == {"call_id", "started_at"}
    assert len(records.COLUMNS) == len({column.name for column in records.COLUMNS}) >= 70


def test_a_number_column_carries_its_unit() -> None:
    units = ("_usd", "_tokens", "_ms", "_s", "_bytes", "_at", "_count", "_hash", "_requests", "_status", "_score")
    for column in records.COLUMNS:
        if column.type in {"int64", "int32", "int16", "float32", "timestamp"} and column.name != "attempts":
            assert column.name.endswith(units), column.name


def test_the_registry_finds_folder_parts_and_names_what_there_is() -> None:
    parts: Registry[object] = Registry("thing", "json", "__doc__")
    assert "decoder" in parts.names()
    assert parts.get("decoder") is not None
    with pytest.raises(NotFound, match="decoder"):
        parts.get("nothing")


def test_importing_the_library_loads_nothing_heavy() -> None:
    heavy = {"polars", "pandas", "pyarrow", "deltalake", "panel", "papermill", "statsmodels", "sqlalchemy", "tornado"}
    code = "import sys, ultimate_lib, ultimate_lib.journal, ultimate_lib.settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)

"""Rollups equal the calls they stand for: after late rows, merges, zone changes, damage, and two at a time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.lake.random_calls import batches, make_lake, random_frame
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import NotFound
from ultimate_lib.lake import Lake, coverage, delta, numbers, optimize, retention, rollup
from ultimate_lib.lake.query import Query
from ultimate_lib.lake.rolled import ROLLUPS

START = datetime(2026, 3, 27, 13, 7, tzinfo=UTC)  # the weekend on which Berlin's clocks change
END = datetime(2026, 3, 30, 9, 52, tzinfo=UTC)
OTHER_ZONES = [pytest.param(zone, marks=pytest.mark.heavy) for zone in ("UTC", "America/New_York")]


def advance(lake: Lake, **time: float) -> None:
    assert isinstance(lake.clock, SteppedClock)
    lake.clock.advance(timedelta(**time).total_seconds())


def rolled(lake: Lake, name: str) -> pl.DataFrame:
    frame = rollup.scan_rollup(lake, name, START - timedelta(days=9), END + timedelta(days=9)).collect()
    return frame.sort("started_at", *ROLLUPS[name].keys)


def everything(lake: Lake) -> dict[str, pl.DataFrame]:
    return {name: rolled(lake, name) for name in ROLLUPS}


def same(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> bool:
    return all(one[name].equals(other[name]) for name in ROLLUPS)


def versions(lake: Lake) -> list[int]:
    return [coverage.table(lake, one).snapshot().version for one in ROLLUPS.values()]


@pytest.fixture(params=["UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_rollups_equal_the_calls_in_any_zone(tmp_path: Path, zone: str) -> None:
    lake = make_lake(tmp_path, END, zone)
    delta.append(lake, random_frame(1, 3000, START, END))
    done = rollup.update(lake)
    assert done.quarters > 200
    assert done.days >= 2
    assert rollup.verify(lake) == []
    frames = everything(lake)
    assert all(frame.height for frame in frames.values())
    assert frames["quarter_model"]["requests"].sum() == frames["quarter_key"]["requests"].sum()


def test_nothing_of_the_open_quarter_or_day_is_rolled(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END)
    delta.append(lake, random_frame(1, 3000, START, END))
    rollup.update(lake)
    assert rolled(lake, "quarter_model")["started_at"].max() == datetime(2026, 3, 30, 9, 30, tzinfo=UTC)
    assert rolled(lake, "day_cube")["started_at"].max() == datetime(2026, 3, 29, tzinfo=UTC)
    advance(lake, minutes=9)
    rollup.update(lake)
    assert rolled(lake, "quarter_model")["started_at"].max() == datetime(2026, 3, 30, 9, 45, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Europe/Berlin", *OTHER_ZONES])
def test_growing_by_commits_gives_what_one_build_gives(tmp_path: Path, zone: str) -> None:
    frame = random_frame(2, 2000, START, END)
    whole = make_lake(tmp_path / "whole", END + timedelta(days=1), zone)
    delta.append(whole, frame)
    rollup.update(whole)
    grown = make_lake(tmp_path / "grown", START, zone)
    late = frame.sample(200, seed=1)
    for batch in batches(frame.join(late, on="call_id", how="anti"), 8):
        delta.append(grown, batch)
        last = batch["started_at"].max()
        assert isinstance(last, datetime)
        advance(grown, seconds=max(0.0, (last - grown.clock.now()).total_seconds()))
        rollup.update(grown)
    delta.append(grown, late)  # calls of quarters and days that were rolled long ago
    advance(grown, seconds=(whole.clock.now() - grown.clock.now()).total_seconds())
    rollup.update(grown)
    assert same(everything(whole), everything(grown))
    assert rollup.verify(grown) == []


def test_merging_files_makes_nothing_dirty(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    for batch in batches(random_frame(3, 600, START, END), 8):
        delta.append(lake, batch)
    rollup.update(lake)
    before, state = everything(lake), versions(lake)
    years_later = make_lake(tmp_path, datetime(2096, 1, 1, tzinfo=UTC))  # files carry the machine's time
    assert optimize.maintain(years_later).merged > 0
    done = rollup.update(lake)
    assert done == rollup.RolledUp()
    assert versions(lake) == state
    assert same(before, everything(lake))
    assert rollup.verify(lake) == []


def test_a_pass_with_nothing_new_commits_nothing(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    assert rollup.update(lake) == rollup.RolledUp()
    delta.append(lake, random_frame(4, 500, START, END))
    rollup.update(lake)
    state = versions(lake)
    assert rollup.update(lake) == rollup.RolledUp()
    assert versions(lake) == state


def test_late_calls_touch_their_own_quarters_alone(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    delta.append(lake, random_frame(5, 1500, START, END))
    rollup.update(lake)
    at = datetime(2026, 3, 28, 10, 2, tzinfo=UTC)
    delta.append(lake, random_frame(6, 20, at, at + timedelta(minutes=5)))
    done = rollup.update(lake)
    assert (done.quarters, done.days) == (1, 1)
    assert rollup.verify(lake) == []


def test_another_billing_zone_builds_the_days_anew(tmp_path: Path) -> None:
    berlin = make_lake(tmp_path, END + timedelta(days=1), "Europe/Berlin")
    delta.append(berlin, random_frame(7, 1500, START, END))
    rollup.update(berlin)
    kept = everything(berlin)
    kolkata = make_lake(tmp_path, END + timedelta(days=1), "Asia/Kolkata")
    assert rolled(kolkata, "day_cube").is_empty()
    done = rollup.update(kolkata)
    assert done.quarters == 0
    assert done.days >= 3
    assert rollup.verify(kolkata) == []
    assert {at.minute for at in rolled(kolkata, "day_cube")["started_at"]} == {30}
    again = make_lake(tmp_path, END + timedelta(days=1), "Europe/Berlin")
    assert rolled(again, "day_cube").is_empty(), "what Kolkata's days say is not Berlin's"
    rollup.update(again)
    assert same(kept, everything(again))


def test_a_day_without_counted_calls_is_rolled_once(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    frame = random_frame(8, 300, START, END)
    quiet = pl.col("started_at").dt.date() == datetime(2026, 3, 28, tzinfo=UTC).date()
    delta.append(lake, frame.with_columns(operation=pl.when(quiet).then(pl.lit("models")).otherwise("operation")))
    rollup.update(lake)
    assert rollup.update(lake) == rollup.RolledUp()
    assert rollup.verify(lake) == []


def test_damaged_rollups_are_not_read_and_heal(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    delta.append(lake, random_frame(9, 1500, START, END))
    rollup.update(lake)
    before = everything(lake)
    for path in [next((tmp_path / "lake" / f"rollup_{name}").rglob("date=2026-03-28/*.parquet")) for name in ROLLUPS]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    later = make_lake(tmp_path, END + timedelta(days=1))
    assert not same(before, everything(later))
    done = rollup.update(later)
    assert (done.quarters, done.days) == (96, 1)
    assert same(before, everything(later))


def test_a_day_with_quarantined_calls_is_held_back_and_rolled_when_they_are_back(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1), "Asia/Kolkata")
    delta.append(lake, random_frame(10, 1500, START, END))
    rollup.update(lake)
    before = everything(lake)
    path = next((tmp_path / "lake" / "calls").rglob("date=2026-03-28/*.parquet"))
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"x" + data[-8:])
    assert same(before, everything(lake)), "what was rolled before the damage stays right"
    at = datetime(2026, 3, 28, 10, 2, tzinfo=UTC)
    late = random_frame(11, 20, at, at + timedelta(minutes=5))
    delta.append(lake, late)
    assert rollup.update(lake).held > 0
    assert rolled(lake, "quarter_model").filter(pl.col("started_at").dt.date() == at.date()).is_empty()
    assert rollup.update(lake).calls == 0, "held back without reading it again"
    path.write_bytes(data)
    assert rollup.update(lake).held == 0
    assert rollup.verify(lake) == []
    assert not same(before, everything(lake))
    reference = make_lake(tmp_path / "reference", END + timedelta(days=1), "Asia/Kolkata")
    delta.append(reference, pl.concat([random_frame(10, 1500, START, END), late]))
    rollup.update(reference)
    assert same(everything(reference), everything(lake))


def test_verify_tells_what_is_wrong(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    delta.append(lake, random_frame(12, 800, START, END))
    rollup.update(lake)
    place = coverage.table(lake, ROLLUPS["day_model"])
    old = place.snapshot().files[1]
    wrong = rolled(lake, "day_model").filter(pl.col("started_at").dt.date() == old.date)
    place.commit(place.write(wrong.with_columns(pl.col("requests") + 1)), [old])
    (difference,) = rollup.verify(lake)
    assert (difference.rollup, difference.start.date()) == ("day_model", old.date)
    rollup.rebuild(lake, difference.start, difference.end)
    assert rollup.verify(lake) == []


def test_two_processes_at_a_time_roll_once(tmp_path: Path) -> None:
    end = END + timedelta(days=1)
    lake = make_lake(tmp_path, end)
    delta.append(lake, random_frame(13, 1500, START, END))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            rollup.update(make_lake(tmp_path, end))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is this test's
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rollup.update(lake)
    assert rollup.verify(lake) == []


def test_dropped_calls_keep_their_rollups(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1))
    delta.append(lake, random_frame(14, 900, START, END))
    rollup.update(lake)
    before = everything(lake)
    gone = [file for file in lake.calls.snapshot().files if file.date == datetime(2026, 3, 28, tzinfo=UTC).date()]
    lake.calls.commit([], gone)
    rollup.update(lake)
    rollup.rebuild(lake)
    assert same(before, everything(lake))
    assert rollup.verify(lake) == []


def test_a_late_call_takes_no_sum_of_dropped_days_away(tmp_path: Path, zone: str) -> None:
    lake = make_lake(tmp_path, END + timedelta(days=1), zone)
    delta.append(lake, random_frame(14, 900, START, END))
    rollup.update(lake)
    before = everything(lake)
    assert retention.drop(lake, 2).days == 2
    delta.append(lake, random_frame(15, 3, START, START + timedelta(hours=1)))
    query = Query(metrics=("requests",), start=START - timedelta(days=1), end=END + timedelta(days=1))
    asked = numbers.aggregate(lake, query).frame["requests"].item()
    rollup.update(lake)
    rollup.rebuild(lake)
    assert same(before, everything(lake))
    assert asked == before["day_model"]["requests"].sum()
    assert rollup.verify(lake) == []


def test_days_do_not_fall_behind_the_log_that_is_kept(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, datetime(2026, 3, 30, 2, tzinfo=UTC))
    delta.append(lake, random_frame(16, 300, START, datetime(2026, 3, 30, tzinfo=UTC)))
    rollup.update(lake)
    for hour in range(2, 9):
        at = datetime(2026, 3, 30, hour, tzinfo=UTC)
        delta.append(lake, random_frame(hour, 2, at, at + timedelta(minutes=5)))
        advance(lake, hours=1)
        rollup.update(lake)
    for name in ROLLUPS:
        state = coverage.standing(lake, ROLLUPS[name]).state
        assert state is not None
        assert state.version == lake.calls.snapshot().version
    lake.calls.checkpoint()
    for number in range(7):  # as it does to files of some hours ago
        (tmp_path / f"lake/calls/_delta_log/{number:020d}.json").unlink(missing_ok=True)
    fresh = make_lake(tmp_path, lake.clock.now())
    assert rollup.update(fresh).calls == 0
    assert rollup.verify(fresh) == []


def test_the_clock_set_back_and_forth_changes_no_sum(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, START)
    frame = random_frame(15, 1200, START, END)
    for number, batch in enumerate(batches(frame, 6)):
        delta.append(lake, batch)
        assert isinstance(lake.clock, SteppedClock)
        lake.clock.step_wall([86_400, -90_000, 3_600, -7_200, 200_000, 100_000][number])
        rollup.update(lake)
        if number % 2:
            assert rollup.verify(lake) == []


def test_an_unknown_rollup_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="day_cube"):
        rollup.scan_rollup(make_lake(tmp_path, END), "hour_model", START, END)

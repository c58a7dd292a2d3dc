"""Numbers: the same from rollups and from calls, to the last digit; every step shown; bad questions named."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lake.random_calls import batches, make_lake, random_call, random_frame
from ultimate_lib.clock import to_us
from ultimate_lib.errors import Invalid
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake, calls, delta, merges, numbers, plan, rollup, schema
from ultimate_lib.lake.query import Query
from ultimate_lib.lake.steps import steps
from ultimate_lib.metrics import DIMENSIONS, GAMMA, METRICS
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record

START = datetime(2026, 3, 26, 13, 7, tzinfo=UTC)  # the weekend on which Berlin's clocks change
END = datetime(2026, 3, 31, 9, 52, tzinfo=UTC)
ZONES = ("UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
ALL = tuple(METRICS)
FILTERS = {
    "provider": ["provider-0"],
    "model": ["model-1", "model-2"],
    "key": ["key-0", "key-3"],
    "user": ["user-1"],
    "team": ["team-0", None],
    "project": ["red", None],
    "app": ["script"],
    "notebook": [None],
    "cell_id": ["c1"],
    "kernel": [None],
    "session": ["s1", "s2"],
    "agent": [None],
    "prefix": [None, "7"],
    "request": ["-9"],
    "endpoint": ["/v1/messages"],
    "status": ["ok", "error"],
    "tag": ["env=dev", None],
}


def journal_call(lake: Lake, record: CallRecord) -> None:
    writer = JournalWriter(lake.journal_dir, "0", Record(), lake.clock)
    writer.call(record)
    writer.close()


@pytest.fixture(scope="module", params=["UTC", "Asia/Kolkata", "Europe/Berlin"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Five days: rolled, then late calls, an open quarter, and a journal with calls of old quarters."""
    zone = str(request.param)
    made = make_lake(tmp_path_factory.mktemp("lake"), END, zone, week_start="sunday")
    frame = random_frame(1, 3000, START, END)
    late = frame.filter(pl.col("started_at").dt.day() == 28).sample(15, seed=3)
    for batch in batches(frame.join(late, on="call_id", how="anti"), 3):
        delta.append(made, batch)
    rollup.update(made)
    delta.append(made, late)
    dice = random.Random(4)
    for number, at in enumerate((START + timedelta(days=1), END - timedelta(days=1), END - timedelta(minutes=1))):
        journal_call(made, random_call(dice, at, 90_000 + number))
    return made


def answer(lake: Lake, query: Query, *, rollups: bool) -> merges.Merges:
    return merges.Merges(lake, query, plan.make(lake, query, rollups=rollups))


instants = st.integers(to_us(START) // 60_000_000 - 600, to_us(END) // 60_000_000 + 600).map(
    lambda minute: datetime.fromtimestamp(minute * 60, UTC)
)
aligned = st.sampled_from([-1, 0, 1, 2, 3, 4]).map(
    lambda day: datetime(2026, 3, 27, tzinfo=UTC) + timedelta(days=day)
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    one, other = draw(instants | aligned), draw(instants | aligned)
    start, end = min(one, other), max(one, other) + timedelta(minutes=draw(st.integers(1, 90)))
    grain = draw(st.sampled_from([None, "hour", "day", "week", "month", "minute"]))
    if grain == "minute":
        end = min(end, start + timedelta(hours=20))
    names = st.lists(st.sampled_from(sorted(DIMENSIONS)), max_size=2, unique=True)
    where = {}
    for name in draw(names):
        where[name] = tuple(draw(st.lists(st.sampled_from(FILTERS[name]), min_size=1, unique=True)))
    return Query(
        metrics=ALL, start=start, end=end, by=tuple(draw(names)), grain=grain, where=where,
        time_zone=draw(st.sampled_from([None, *ZONES])),
    )  # fmt: skip


def asked(number: int) -> settings:
    """Settings for so many questions; others are drawn in each run."""
    return settings(max_examples=number, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@asked(20)
@given(query=queries())
def test_rollups_and_calls_give_the_same_to_the_last_digit(lake: Lake, query: Query) -> None:
    check_same(lake, query)


@pytest.mark.heavy
@asked(300)
@given(query=queries())
def test_rollups_and_calls_give_the_same_for_many_questions(lake: Lake, query: Query) -> None:
    check_same(lake, query)


def check_same(lake: Lake, query: Query) -> None:
    keys = [*([merges.STEP] if query.grain else []), *query.by]
    rolled, raw = answer(lake, query, rollups=True), answer(lake, query, rollups=False)
    for some in (keys, list(query.by)):
        one, other = rolled.evaluate(some), raw.evaluate(some)
        assert one.sort(some or "requests").equals(other.sort(some or "requests"))
    assert rolled.answer(rolled.evaluate(keys)).unpriced_requests == raw.answer(raw.evaluate(keys)).unpriced_requests


def test_rollups_are_used_where_they_can_be(lake: Lake) -> None:
    def source(**more: object) -> str:
        query = Query(metrics=("cost_usd", "latency_p95_ms"), start=START, end=END, **more)  # type: ignore[arg-type]
        return numbers.aggregate(lake, query).source

    assert source() == "both"
    assert source(where={"model": ("model-1",)}) == "both"
    assert source(where={"session": ("s1",)}) == "raw"
    quiet = Query(
        metrics=("cost_usd",), by=("user", "project"), start=datetime(2026, 3, 28, 23, tzinfo=UTC),
        end=datetime(2026, 3, 29, 23, tzinfo=UTC),
    )  # fmt: skip
    assert all(stand.rollup.name == "day_cube" for stand, _ in plan.make(lake, quiet).sums.rollups)


def test_an_answer_equals_what_a_person_would_count(lake: Lake) -> None:
    rows = delta_rows(lake)
    counted = [row for row in rows if row["operation"] not in {"count_tokens", "models"}]
    found = numbers.aggregate(lake, Query(metrics=ALL, start=START, end=END + timedelta(days=1)))
    (row,) = found.frame.to_dicts()
    errors = sum(call["status"] == "error" for call in counted)
    assert row["requests"] == len(counted)
    assert row["errors"] == errors
    assert row["error_ratio"] == errors / len(counted)
    assert row["refused"] == sum(call["status"] in {"refused", "blocked"} for call in counted)
    spend = [c["cost_nano_usd"] for c in counted if c["billing"] != "subscription" and c["cost_nano_usd"] is not None]
    assert row["cost_usd"] == sum(spend) / 1e9
    assert row["cost_per_request_usd"] == pytest.approx(sum(spend) / 1e9 / len(spend), rel=1e-12)
    free = [c["cost_nano_usd"] for c in counted if c["billing"] == "subscription"]
    assert row["subscription_cost_usd"] == sum(cost or 0 for cost in free) / 1e9
    both = [c for c in counted if c["cache_read_tokens"] is not None and c["input_tokens"] is not None]
    assert row["cache_hit_ratio"] == sum(c["cache_read_tokens"] for c in both) / sum(c["input_tokens"] for c in both)
    assert row["total_tokens"] == sum((c["input_tokens"] or 0) + (c["output_tokens"] or 0) for c in counted)
    durations = sorted(
        c["duration_ms"]
        for c in counted
        if c["duration_ms"] is not None and c["status"] not in {"refused", "blocked"}
    )
    for percent in (50, 95, 99):
        exact = durations[-(-len(durations) * percent // 100) - 1]
        assert row[f"latency_p{percent}_ms"] == pytest.approx(exact, rel=(GAMMA - 1) / (GAMMA + 1) + 1e-9)
    assert found.unpriced_requests == row["unpriced_requests"] > 0


def delta_rows(lake: Lake) -> list[dict[str, object]]:
    from ultimate_lib.lake.reader import scan_calls

    return scan_calls(lake, START - timedelta(days=1), END + timedelta(days=1)).collect().to_dicts()


def test_every_step_is_there_and_empty_ones_say_so(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END)
    at = datetime(2026, 3, 28, 12, tzinfo=UTC)
    delta.append(lake, random_frame(5, 50, at, at + timedelta(minutes=30)))
    found = numbers.timeseries(
        lake, Query(metrics=ALL, start=START, end=END, grain="day", time_zone="Asia/Kolkata")
    ).frame
    assert [str(step)[:16] for step in found["step_at"]] == [f"2026-03-{day} 00:00" for day in range(26, 32)]
    assert found["requests"].to_list() == [0, 0, found["requests"].sum(), 0, 0, 0]
    empty = found.row(0, named=True)
    zero = {"requests", "errors", "refused", "priced_requests", "unpriced_requests"}
    assert {name: empty[name] for name in METRICS} == {name: 0 if name in zero else None for name in METRICS}


def test_no_calls_at_all(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END)
    (row,) = numbers.aggregate(lake, Query(metrics=ALL, start=START, end=END)).frame.to_dicts()
    assert row["requests"] == 0
    assert row["cost_usd"] is None
    assert row["error_ratio"] is None
    assert row["latency_p95_ms"] is None
    assert numbers.breakdown(lake, Query(metrics=ALL, start=START, end=END, by=("model",))).frame.is_empty()
    assert numbers.timeseries(lake, Query(metrics=ALL, start=START, end=END, grain="day")).frame.height == 6


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", 29, 23), ("Europe/Berlin", 28, 24), ("Asia/Kolkata", 29, 24), ("America/New_York", 29, 24)],
)
def test_a_day_has_the_hours_it_has(zone: str, day: int, hours: int) -> None:
    at = datetime(2026, 3, day, tzinfo=ZoneInfo(zone))
    end = datetime(2026, 3, day + 1, tzinfo=ZoneInfo(zone))
    edges = steps(at, end, "hour", zone)
    assert len(edges) - 1 == hours
    assert {later - earlier for earlier, later in pairwise(edges)} == {timedelta(hours=1)}
    assert [edge.astimezone(ZoneInfo(zone)) for edge in steps(at, end, "day", zone)] == [at, end]


def test_weeks_begin_when_the_settings_say() -> None:
    edges = steps(START, END, "week", "UTC", "sunday")
    assert [edge.isoformat()[:10] for edge in edges] == ["2026-03-22", "2026-03-29", "2026-04-05"]
    assert [edge.isoformat()[:10] for edge in steps(START, END, "month", "UTC")] == ["2026-03-01", "2026-04-01"]


def test_calls_and_tokens_of_a_day_stay_in_that_day_when_clocks_change(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END, "Europe/Berlin")
    zone = ZoneInfo("Europe/Berlin")
    moments = [datetime(2026, 3, 28, 23, 59, 59, 999_999, zone), datetime(2026, 3, 29, 0, 0, tzinfo=zone)]
    moments += [datetime(2026, 3, 29, 23, 59, tzinfo=zone), datetime(2026, 3, 30, 0, 0, tzinfo=zone)]
    rows = [CallRecord(call_id=str(n), started_at=to_us(at), status="ok") for n, at in enumerate(moments)]
    delta.append(lake, schema.frame_from_records(rows))
    query = Query(
        metrics=("requests",), grain="day", start=datetime(2026, 3, 28, tzinfo=zone),
        end=datetime(2026, 3, 31, tzinfo=zone),
    )  # fmt: skip
    for _ in range(2):
        assert numbers.timeseries(lake, query).frame["requests"].to_list() == [1, 2, 1]
        rollup.update(lake)
        rollup.update(lake)


def test_a_breakdown_is_ordered_and_limited(lake: Lake) -> None:
    query = Query(metrics=("requests", "cost_usd"), start=START, end=END, by=("user", "app"), order_by="cost_usd")
    costs = numbers.breakdown(lake, query).frame["cost_usd"].to_list()
    assert costs == sorted(costs, reverse=True)
    assert len(costs) == 9
    few = Query(
        metrics=("requests",), start=START, end=END, by=("user",), limit=2, order_by="requests", descending=False
    )
    assert numbers.breakdown(lake, few).frame.height == 2
    series = Query(metrics=("requests",), start=START, end=END, by=("user",), limit=1, grain="day")
    frame = numbers.timeseries(lake, series).frame
    assert frame["user"].n_unique() == 1
    assert frame.height == 6


def test_a_call_counts_under_each_of_its_tags_and_once_in_what_is_unpriced(lake: Lake) -> None:
    query = Query(metrics=("requests", "unpriced_requests"), start=START, end=END, by=("tag",))
    found = numbers.breakdown(lake, query)
    whole = numbers.aggregate(lake, Query(metrics=("requests", "unpriced_requests"), start=START, end=END))
    assert set(found.frame["tag"]) == {None, "env=dev", "env=prod", "team=x"}
    by_tag = dict(found.frame.select("tag", "requests").iter_rows())
    assert by_tag["env=prod"] == by_tag["team=x"]
    assert by_tag[None] + by_tag["env=dev"] + by_tag["env=prod"] == whole.frame["requests"].item()
    assert found.unpriced_requests == whole.unpriced_requests


def test_an_answer_is_kept_until_the_data_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = make_lake(tmp_path, END)
    delta.append(lake, random_frame(6, 100, START, END))
    query = Query(metrics=("requests",), start=START, end=END + timedelta(hours=1))
    made = []
    real = plan.make
    monkeypatch.setattr(numbers.planning, "make", lambda *given: made.append(1) or real(*given))
    first = numbers.aggregate(lake, query)
    assert numbers.aggregate(lake, query) is first
    assert made == [1]
    journal_call(lake, CallRecord(call_id="new", started_at=to_us(END), status="ok"))
    assert numbers.aggregate(lake, query).frame["requests"].item() == first.frame["requests"].item() + 1
    rollup.update(lake)
    assert len(made) == 2


def test_kept_answers_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = make_lake(tmp_path, END)
    delta.append(lake, random_frame(6, 100, START, END))
    monkeypatch.setattr(numbers, "_KEPT_BYTES", 100_000)
    monkeypatch.setattr(numbers, "_LARGEST_BYTES", 50_000)
    for minutes in range(20):
        end = END + timedelta(minutes=minutes)
        numbers.timeseries(lake, Query(metrics=("requests",), start=END - timedelta(days=1), end=end, grain="minute"))
    kept = numbers._kept[lake].values()
    assert 0 < sum(answer.frame.estimated_size() for answer in kept) <= 100_000


def test_a_damaged_file_is_told_and_its_return_seen(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END)
    delta.append(lake, random_frame(7, 400, START, END))
    query = Query(metrics=("requests",), start=START, end=END)
    whole = numbers.aggregate(lake, query)
    path = next((tmp_path / "lake" / "calls").rglob("date=2026-03-28/*.parquet"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])
    later = make_lake(tmp_path, END)
    damaged = numbers.aggregate(later, query)
    assert damaged.missing_files == 1
    assert damaged.missing_rows is not None
    assert damaged.missing_rows > 0
    assert damaged.frame["requests"].item() < whole.frame["requests"].item()
    rollup.update(later)
    assert numbers.aggregate(later, query)[2:4] == damaged[2:4], "a rollup hides no damage"
    path.write_bytes(data)
    assert numbers.aggregate(later, query).frame.equals(whole.frame)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"metrics": ("cost_us",)}, "Did you mean 'cost_usd'"),
        ({"metrics": ()}, "Known: requests"),
        ({"by": ("modell",)}, "Did you mean 'model'"),
        ({"where": {"usr": ("a",)}}, "Did you mean 'user'"),
        ({"where": {"user": ()}}, "lists no value"),
        ({"end": START}, "not after its start"),
        ({"end": START.replace(tzinfo=None)}, "time zone"),
        ({"grain": "fortnight"}, "Known: minute"),
        ({"grain": "minute", "end": START + timedelta(days=30)}, "10,000 steps"),
        ({"grain": "day", "time_zone": "Berlin"}, "IANA"),
        ({"grain": "day", "time_zone": "posix/Europe/Berlin"}, "IANA"),
        ({"grain": "day", "limit": 0}, "between 1"),
        ({"grain": "day", "order_by": "cost_usd"}, "metric of this query"),
        ({"metrics": ("requests", "requests")}, "twice"),
        ({"start": datetime(1900, 1, 1, tzinfo=UTC)}, "years"),
    ],
)
def test_a_bad_question_names_what_is_known(tmp_path: Path, wrong: dict[str, object], told: str) -> None:
    good: dict[str, object] = {"metrics": ("requests",), "start": START, "end": END, "grain": "day"}
    with pytest.raises(Invalid) as caught:
        numbers.timeseries(make_lake(tmp_path, END), Query(**{**good, **wrong}))  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_each_shape_asks_for_its_own_things(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END)
    with pytest.raises(Invalid, match="one row"):
        numbers.aggregate(lake, Query(metrics=("requests",), start=START, end=END, by=("user",)))
    with pytest.raises(Invalid, match="dimensions"):
        numbers.breakdown(lake, Query(metrics=("requests",), start=START, end=END))
    with pytest.raises(Invalid, match="grain"):
        numbers.timeseries(lake, Query(metrics=("requests",), start=START, end=END))


def test_pages_of_calls_are_newest_first_complete_and_stable(lake: Lake) -> None:
    whole = [(row["started_at"], row["call_id"]) for row in delta_rows(lake) if START <= row["started_at"] < END]  # type: ignore[operator]
    seen: list[tuple[object, object]] = []
    cursor = None
    while True:
        found = calls.page(lake, START, END, limit=700, cursor=cursor, columns=["call_id", "status"])
        assert found.frame.columns == ["call_id", "status"]
        seen += [(None, call_id) for call_id in found.frame["call_id"]]
        cursor = found.cursor
        if cursor is None:
            break
    assert [call_id for _, call_id in seen] == [call_id for _, call_id in sorted(whole, reverse=True)]
    filtered = calls.page(lake, START, END, {"status": ("error",), "tag": ("env=dev",)}, limit=1000).frame
    assert set(filtered["status"]) == {"error"}
    assert filtered.height == sum(
        row["status"] == "error" and row["tags"] == ["env=dev"] and row["started_at"] < END  # type: ignore[operator]
        for row in delta_rows(lake)
    )


def test_calls_of_one_instant_are_not_lost_between_pages(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, END)
    delta.append(
        lake, schema.frame_from_records([CallRecord(call_id=f"{n:03d}", started_at=to_us(START)) for n in range(25)])
    )
    found, cursor = [], None
    for _ in range(9):
        one = calls.page(lake, START - timedelta(days=400), END, limit=3, cursor=cursor)
        found += one.frame["call_id"].to_list()
        cursor = one.cursor
    assert found == [f"{n:03d}" for n in reversed(range(25))]
    assert cursor is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cursor": "yesterday"}, "not one of ours"),
        ({"limit": 1001}, "1,000"),
        ({"columns": ["modell_served"]}, "model_served"),
        ({"where": {"modle": ("a",)}}, "Did you mean 'model'"),
    ],
)
def test_a_bad_page_is_refused(tmp_path: Path, wrong: dict[str, object], told: str) -> None:
    with pytest.raises(Invalid) as caught:
        calls.page(make_lake(tmp_path, END), START, END, **wrong)  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_how_much_has_to_be_read_call_by_call_is_known_before(lake: Lake) -> None:
    sessions = Query(metrics=("requests",), start=START, end=END, by=("session",))
    models = Query(metrics=("requests",), start=START, end=END, by=("model",))
    assert numbers.raw_calls(lake, sessions) > 2500
    assert numbers.raw_calls(lake, models) < 900, "the day with late calls, the edges and the open quarter"


def test_frames_have_the_types_the_metric_table_says(lake: Lake) -> None:
    frame = numbers.aggregate(lake, Query(metrics=ALL, start=START, end=END)).frame
    for name, metric in METRICS.items():
        whole = metric.unit in {"calls", "tokens"}
        assert frame.schema[name] == (pl.Int64 if whole else pl.Float64), name

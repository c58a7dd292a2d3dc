"""Live events from control's own socket: who hears what, coming back, slow readers, ended keys, too many."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from proxy_server.control import live as hub
from proxy_server.control.api.live import matching
from tests.control import alone
from tests.control.alone import Alone
from tests.control.calls import call
from tests.control.listening import Listener, listen
from tests.harness import wait_until
from tests.stopwatch import Stopwatch
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.journal.follow import Follower
from ultimate_lib.lake import schema
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.lake.merges import matching as of_frames
from ultimate_lib.records import COLUMNS, CallRecord, as_mapping


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


@pytest.fixture
def writer(control: Alone) -> Iterator[JournalWriter]:
    with writing(control) as found:
        yield found


@contextlib.contextmanager
def writing(control: Alone, slot: str = "0", **told: float) -> Iterator[JournalWriter]:
    settings = control.bench.settings
    found = JournalWriter(settings.journal_dir, slot, replace(settings.record, **told), SystemClock())
    found.start()
    yield found
    found.close()


def now(**told: object) -> CallRecord:
    return call(datetime.now(UTC), **told)


def url(control: Alone) -> str:
    return f"http://{control.host}"


def test_a_call_is_told_within_half_a_second_with_every_column(control: Alone, writer: JournalWriter) -> None:
    writer.call(now())
    with listen(url(control), control.key) as listener:
        took = []
        for number in range(5):
            time.sleep(random.uniform(0, 0.25))
            record = now(project=f"p{number}")
            with Stopwatch() as late:
                writer.call(record)
                heard = listener.wait(number + 1)[-1]
            took.append(late.seconds)
            assert (heard.event, heard.id, heard.data["project"]) == ("call", record.call_id, f"p{number}")
        assert statistics.median(took) < 0.5, took
        assert max(took) < 2.0, took  # a loaded machine may be late at times
        listed = control.get("/api/analytics/calls?limit=1").json["rows"][0]
        assert listener.heard[-1].data == listed
        assert list(listed) == [column.name for column in COLUMNS]
        assert len(listener.heard) == 5, "what was before is not told"


def test_own_calls_alone_and_filters(control: Alone, writer: JournalWriter) -> None:
    ann = control.add_user("ann", "api_user")
    with (
        listen(url(control), ann) as own,
        listen(url(control), control.key, "?filter=project:a&filter=project:&filter=status:ok") as some,
        listen(url(control), control.key) as everything,
    ):
        told = [
            now(user_id="user_ann", project="a"), now(user_id="user_ben", project="b"), now(project=None),
            now(user_id="user_ann", project="b", status="error"), now(project="a", status="error"),
        ]  # fmt: skip
        for record in told:
            writer.call(record)
        for listener, number in ((everything, 5), (own, 2), (some, 2)):
            listener.wait(number)
        time.sleep(0.1)
        assert everything.ids() == [record.call_id for record in told]
        assert own.ids() == [told[0].call_id, told[3].call_id]
        assert some.ids() == [told[0].call_id, told[2].call_id]
    reply = control.get("/api/live?filter=user:user_ben", key=ann)
    assert (reply.status, reply.json["error"]["code"]) == (403, "own_calls")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?filter=nonsense", 400, "filter"), ("?filter=colour:red", 400, "unknown_name"),
        ("?follow=1", 400, "parameter_unknown"), ("?after=" + "x" * 200, 400, "parameter_value"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_json(control: Alone, query: str, status: int, code: str) -> None:
    reply = control.get(f"/api/live{query}")
    assert (reply.status, reply.json["error"]["code"]) == (status, code)


def test_methods(control: Alone) -> None:
    assert control.ask("HEAD", "/api/live", key=control.key).status == 405
    assert control.ask("POST", "/api/live", key=control.key, told={}).status == 405
    assert control.ask("GET", "/api/live", headers={"X-Forwarded-For": "203.0.113.9"}).status == 401


def test_who_comes_back_gets_what_it_missed_once(control: Alone, writer: JournalWriter) -> None:
    with listen(url(control), control.key) as first:
        records = [now() for _ in range(3)]
        for record in records:
            writer.call(record)
        first.wait(3)
    missed = [now() for _ in range(4)]
    for record in missed:
        writer.call(record)
    with listen(url(control), control.key, Last_Event_ID=records[1].call_id) as again:
        again.wait(5)
        last = now()
        writer.call(last)
        again.wait(6)
        assert again.ids() == [record.call_id for record in [records[2], *missed, last]]
    with listen(url(control), control.key, f"?after={records[2].call_id}") as by_query:
        assert len(by_query.wait(5)) == 5
    with listen(url(control), control.key, Last_Event_ID="0197f3b8-2d6a-7000-8000-000000000000") as unknown:
        writer.call(now())
        heard = unknown.wait(2)
        assert [one.event for one in heard] == ["gap", "call"], "what cannot be given is told, and it goes on"


def test_after_a_restart_nothing_is_missed_and_ids_tell_what_comes_twice(tmp_path: Path) -> None:
    start = datetime.now(UTC) - timedelta(seconds=5)
    with alone.start(tmp_path) as control, writing(control) as one, writing(control, "1") as two:
        records = [call(start + timedelta(milliseconds=100 * number), duration_ms=7) for number in range(30)]
        for number, record in enumerate(records):
            (one, two)[number % 2].call(record)
        run_once(control.bench.lake)  # committed or not: the segments stay for a while
        with listen(url(control), control.key, Last_Event_ID=records[9].call_id) as listener:
            listener.wait(20)
            time.sleep(0.3)
            assert set(listener.ids()) >= {record.call_id for record in records[10:]}
            assert records[9].call_id not in listener.ids()
            assert set(listener.ids()) <= {record.call_id for record in records[:9] + records[10:]}
            assert len(listener.ids()) == len(set(listener.ids()))
            assert listener.ids()[-20:] == [record.call_id for record in records[10:]]


def test_a_slow_reader_is_let_go_and_nobody_else_waits(
    control: Alone, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MOST_WAITING", 50)
    monkeypatch.setattr(hub, "LOOK_S", 0.02)
    with (
        listen(url(control), control.key, paused=True, buffer=4096) as slow,
        listen(url(control), control.key) as quick,
    ):
        sent = send_much(writer, quick)
        slow.go_on.set()
        assert slow.ended.wait(20), "its stream has ended"
        assert slow.heard[-1].event == "end"
        assert slow.heard[-1].data["reason"] == "slow"
        assert len(slow.ids()) < sent


def send_much(writer: JournalWriter, quick: Listener) -> int:
    """Write more than what sockets and queues hold, at a pace that a quick reader keeps up with."""
    sent = 0
    for _ in range(60):
        for _ in range(40):
            writer.call(now(project="x" * 5000))
            sent += 1
        quick.wait(sent)
    return sent


def test_a_reader_that_reads_nothing_at_all_is_cut_off(
    control: Alone, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MOST_WAITING", 50)
    monkeypatch.setattr(hub, "LOOK_S", 0.02)
    monkeypatch.setattr(hub, "_GOODBYE_S", 0.2)
    with (
        listen(url(control), control.key, paused=True, buffer=4096) as dead,
        listen(url(control), control.key) as quick,
    ):
        sent = send_much(writer, quick)
        time.sleep(0.5)
        dead.go_on.set()
        assert dead.ended.wait(20)
        assert len(dead.ids()) < sent


def test_an_ended_key_hears_no_more(control: Alone, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "RECHECK_S", 0.3)
    made = control.ask("POST", "/api/keys", key=control.key, told={"name": "x", "scopes": ["analytics:view"]}).json
    with listen(url(control), made["key"]) as listener:
        writer.call(now())
        listener.wait(1)
        assert control.ask("DELETE", f"/api/keys/{made['about']['id']}", key=control.key).status == 200
        assert listener.ended.wait(20)
        assert (listener.heard[-1].event, listener.heard[-1].data["reason"]) == ("end", "rights")


def test_silence_is_kept_alive(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "KEEP_S", 0.4)
    monkeypatch.setattr(hub, "RECHECK_S", 0.2)
    with listen(url(control), control.key) as listener:
        wait_until(lambda: listener.comments.count(": keep") >= 2, 5)
        assert listener.heard == []


def test_too_many_are_refused_with_what_to_do(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_OF_ONE", 3)
    ann = control.add_user("ann", "viewer")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(listen(url(control), control.key))
        reply = control.get("/api/live")
        assert (reply.status, reply.json["error"]["code"]) == (503, "busy")
        assert stack.enter_context(listen(url(control), ann)).status == 200
        monkeypatch.setattr(hub, "MOST_CLIENTS", 4)
        assert control.get("/api/live", key=ann).status == 503

    def room() -> bool:
        with listen(url(control), control.key) as listener:
            return listener.status == 200

    wait_until(room, 10)  # those who have left make it


def test_a_server_that_leaves_says_so(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with alone.start(tmp_path) as control:
            listener = stack.enter_context(listen(url(control), control.key))
            took = stack.enter_context(Stopwatch())
        assert took.seconds < 3, "it does not wait for endless answers"
        assert listener.ended.wait(20)
        assert listener.heard[-1].data["reason"] == "restart"


def test_filters_pass_the_same_calls_live_as_in_the_lake() -> None:
    dice = random.Random(5)

    def some() -> CallRecord:
        record = call(datetime.now(UTC))
        for column in (
            "provider",
            "model_routed",
            "model_requested",
            "model_served",
            "user_id",
            "project",
            "notebook",
        ):
            setattr(record, column, dice.choice([None, "", "a", "b"]))
        record.tags = dice.choice([None, [], ["x=1"], ["x=1", "y=2"]])
        return record

    records = [some() for _ in range(300)]
    rows = [{**as_mapping(record), "started_at": datetime.now(UTC)} for record in records]
    frame = pl.DataFrame(rows, schema=schema.POLARS)
    values = {"tag": ["x=1", "y=2", "z", None]}
    kept = 0
    for _ in range(60):
        names = dice.sample(["provider", "model", "user", "project", "notebook", "tag"], dice.randrange(1, 4))
        where = {name: tuple(dice.sample(values.get(name, ["a", "b", None]), dice.randrange(1, 3))) for name in names}
        expected = frame.filter(*of_frames(where))["call_id"].to_list()
        passes = matching(where)
        assert [record.call_id for record in records if passes(record)] == expected, where
        kept += len(expected)
    assert kept > 100


def test_the_follower_reads_each_line_once_over_seals_and_torn_ends(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control, writing(control, segment_bytes=3000, sync_interval_s=0.01) as writer:
        follower = Follower(control.bench.settings.journal_dir)
        records = [now() for _ in range(50)]
        for record in records[:10]:
            writer.call(record)
        assert [one.call_id for one in follower.begin(5)] == [record.call_id for record in records[5:10]]
        seen: list[str] = []
        for number, record in enumerate(records[10:]):
            writer.call(record)
            time.sleep(0.003)
            if number % 3 == 0:
                seen += [one.call_id for one in follower.look()]
        wait_until(lambda: len(list(control.bench.settings.journal_dir.rglob("*.seg"))) > 3, 10)
        newest = max(control.bench.settings.journal_dir.rglob("*.open"))  # one before it may wait to be sealed
        with newest.open("ab") as file:
            file.write(b'{"k":"call","call_id":"half')
        seen += [one.call_id for one in follower.look()]
        assert sorted(seen) == sorted(record.call_id for record in records[10:])
        assert follower.look() == []


def test_beginning_in_a_large_journal_reads_its_end_alone(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control, writing(control, segment_bytes=3_000_000, sync_interval_s=0.01) as writer:
        records = [now(project="x" * 900) for _ in range(12_000)]
        for record in records:
            writer.call(record)
        follower = Follower(control.bench.settings.journal_dir)
        began = time.process_time()
        found = follower.begin(1000)
        assert time.process_time() - began < 0.5
        newest = {record.call_id for record in records[-400:]}
        assert newest <= {one.call_id for one in found}
        assert follower.look() == []
        writer.call(now())
        assert len(follower.look()) == 1


def test_a_segment_sealed_while_the_journal_is_begun_is_not_told_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone.start(tmp_path) as control:
        with writing(control, sync_interval_s=0.01) as writer:
            for _ in range(5):
                writer.call(now())
            listed = list(Follower(control.bench.settings.journal_dir)._segments())
        assert not listed[0].path.exists()  # it was open, and has been sealed by the writer's end
        follower = Follower(control.bench.settings.journal_dir)
        with monkeypatch.context() as patch:
            patch.setattr(follower, "_segments", lambda: iter(listed))
            assert len(follower.begin(10)) == 5
        assert follower.look() == []


@pytest.mark.parametrize("broken", ["begin", "look"])
def test_a_follower_that_fails_lets_everyone_go_instead_of_falling_silent(
    control: Alone, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fails(*_: object) -> list[CallRecord]:
        raise ValueError("torn")

    if broken == "begin":
        monkeypatch.setattr(Follower, "begin", fails)
        reply = control.get("/api/live")
        assert reply.status == 503
        monkeypatch.undo()
    else:
        with listen(url(control), control.key) as listener:
            monkeypatch.setattr(Follower, "look", fails)
            end = listener.wait(1)[0]
            assert (end.event, end.data["reason"]) == ("end", "failed")
            monkeypatch.undo()
    with listen(url(control), control.key) as listener:
        writer.call(now())
        assert listener.wait(1)[0].event == "call", "whoever comes back hears again"

"""The log that gateways share: read twice it says the same, compacted it keeps what matters, torn it goes on."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ultimate_lib.guard import events
from ultimate_lib.guard.events import Event, EventLog, Fold
from ultimate_lib.guard.rule import Rule

RULE = Rule()


def event(number: int, **members: object) -> Event:
    told = {"key_id": "k", "model": "m", "at_us": number, "call_id": f"c{number}", **members}
    return Event(**told)  # type: ignore[arg-type] # members of an event


def test_each_reader_gets_each_event_once_whoever_wrote_it(tmp_path: Path) -> None:
    one, two = EventLog(tmp_path), EventLog(tmp_path)
    assert not one.moved()
    one.append(event(1))
    two.append(event(2))
    assert one.moved()
    assert one.read() == (True, [event(1), event(2)])
    assert not one.moved()
    one.append(event(3, by="ann"))
    assert one.read() == (False, [event(3, by="ann")])
    assert two.read() == (True, [event(1), event(2), event(3, by="ann")])
    assert (tmp_path / "guard.log").stat().st_mode & 0o777 == 0o600


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(event(1))
    with (tmp_path / "guard.log").open("ab") as file:
        file.write(b'{"key_id":"k","mod')  # the disk was full
    assert log.read() == (True, [event(1)])
    log.append(event(2))
    assert log.read() == (False, [event(2)])
    assert log.bad == 1


def test_compacting_keeps_what_matters_and_what_is_written_meanwhile(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for number in range(100):
        log.append(event(number))
    assert log.read()[1][-1] == event(99)
    assert not events.compact(tmp_path, 90)  # it is small
    held, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        held.set()
        assert go_on.wait(10)

    thread = threading.Thread(target=events.compact, args=(tmp_path, 90), kwargs={"above": 10, "pause": pause})
    thread.start()
    assert held.wait(10)
    with pytest.raises(BlockingIOError):
        log.append(event(100))
    go_on.set()
    thread.join(10)
    log.append(event(100))
    assert log.moved()
    assert log.read() == (True, [event(number) for number in range(90, 101)])
    assert [path.name for path in tmp_path.iterdir()] == ["guard.log"]


def test_the_last_acceptance_holds_and_outlives_the_rest_of_the_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    told = [event(50, by="ann", since_us=40), event(60, by="bob", since_us=55), event(70, by="ann"), event(80)]
    for one in told:
        log.append(one)
    assert events.accepted(log.read()[1]) == {("k", "m"): (55, 60, "bob")}
    assert events.accepted(reversed(told)) == {("k", "m"): (55, 60, "bob")}
    assert events.compact(tmp_path, 75, accepted_us=55, above=10)
    assert log.read() == (True, [told[1], told[3]])


def test_an_acceptance_ends_a_cool_down() -> None:
    minute = 60_000_000
    fold = Fold()
    for at in (1, 2, 3):
        fold = events.fold(RULE, fold, event(at * minute))
    assert fold.standing.until_us == 33 * minute
    fold = events.fold(RULE, fold, event(5 * minute, by="ann", since_us=1))
    assert (fold.standing.until_us, fold.standing.counted) == (5 * minute, ())


def test_a_log_that_is_gone_is_an_empty_one(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(event(1))
    log.read()
    os.unlink(tmp_path / "guard.log")  # noqa: PTH108 - as somebody would
    assert log.moved()
    assert log.read() == (True, [])


def test_events_read_twice_come_to_the_same() -> None:
    minute = 60_000_000
    told = [event(at * minute) for at in (1, 2, 3, 50, 51)] + [event(52 * minute, by="ann"), event(53 * minute)]
    once = twice = Fold()
    for one in told:
        once = events.fold(RULE, once, one)
    for one in (*told, *told):
        twice = events.fold(RULE, twice, one)
    assert once.standing == twice.standing
    assert once.last is not None
    assert once.last.call_id == f"c{53 * minute}"

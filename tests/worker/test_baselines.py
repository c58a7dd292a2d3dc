"""What the worker learns for the guard: in one file, anew when the lake has moved, and kept while a key calls."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy_server.worker.baselines import Learning
from tests.worker import alone
from tests.worker.test_jobs import rows as rows_of
from ultimate_lib.clock import SteppedClock, SystemClock, to_us
from ultimate_lib.errors import Corrupt
from ultimate_lib.guard import known
from ultimate_lib.guard.events import Event, EventLog
from ultimate_lib.guard.known import Known
from ultimate_lib.lake import Lake, delta, schema
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
PAIR = ("k", "m")


def calls(number: int, every: timedelta, until: datetime = NOW, **members: object) -> list[CallRecord]:
    dice = random.Random(number)
    given = {"key_id": "k", "model_routed": "m", "status": "ok", "operation": "chat", **members}
    return [
        CallRecord(
            call_id=f"{to_us(until - one * every)}-{dice.getrandbits(32)}",
            started_at=to_us(until - one * every),
            input_tokens=round(dice.lognormvariate(6, 1)),
            cost_nano_usd=round(dice.lognormvariate(15, 1)),
            **given,  # type: ignore[arg-type] # members of a record
        )
        for one in range(number, 0, -1)
    ]


class World:
    """A lake whose clock is stepped, and the job."""

    def __init__(self, folder: Path, **overrides: object) -> None:
        self.settings = load(environ={}, overrides={"data.folder": str(folder), **overrides})
        self.clock = SteppedClock(NOW)
        self.lake = Lake.open(self.settings, self.clock)
        self.job = Learning(self.settings)

    def add(self, made: list[CallRecord]) -> None:
        delta.append(self.lake, schema.frame_from_records(made))

    def learn(self) -> bool:
        return bool(self.job(self.lake)["learnt"])

    def known(self) -> Known:
        told = known.read(self.settings.run_dir)
        assert told is not None
        return told.known[PAIR]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_learnt_is_ripe_after_both_days_and_calls(world: World) -> None:
    world.add(calls(600, timedelta(hours=1)))
    assert world.learn()
    one = world.known()
    assert one.calls == 600
    assert one.first_us == to_us(NOW - timedelta(hours=600))
    assert one.enough_us == to_us(NOW - timedelta(hours=101))
    assert one.ripe_us == one.enough_us  # the 500th call came after 14 days
    assert one.usual_usd is not None
    assert 0.02 < one.usual_usd < 2
    assert one.usual_tokens is not None
    told = known.read(world.settings.run_dir)
    assert told is not None
    assert told.rates["k"].ripe_us == one.ripe_us
    assert told.rates["k"].usual_usd[1] is not None
    assert known.path(world.settings.run_dir).stat().st_mode & 0o777 == 0o600


def test_few_calls_or_days_are_not_ripe(world: World, tmp_path: Path) -> None:
    world.add(calls(499, timedelta(hours=1)))
    assert world.learn()
    assert world.known().ripe_us is None
    other = World(tmp_path / "other")
    other.add(calls(600, timedelta(minutes=1)))
    other.learn()
    assert other.known().ripe_us == other.known().first_us + 14 * 86_400_000_000


def test_it_learns_again_when_calls_have_come_and_some_time_is_over(world: World) -> None:
    world.add(calls(60, timedelta(hours=1)))
    assert world.learn()
    world.clock.advance(3600)
    assert not world.learn()  # nothing has come
    world.add(calls(10, timedelta(seconds=1)))
    assert world.learn()
    world.add(calls(20, timedelta(seconds=1), NOW + timedelta(seconds=30)))
    world.clock.advance(60)
    assert not world.learn()  # too soon
    assert world.known().calls == 70
    world.clock.advance(600)
    assert world.learn()
    assert world.known().calls == 90
    known.path(world.settings.run_dir).unlink()
    assert world.learn()


def test_who_has_learnt_nothing_or_little_of_the_lake_looks_again_within_the_minute(world: World) -> None:
    assert world.learn()  # an empty lake
    world.clock.advance(60)
    assert not world.learn()  # still
    world.add(calls(60, timedelta(hours=1)))
    world.clock.advance(60)
    assert world.learn()
    world.add(calls(55, timedelta(seconds=10), world.clock.now()))
    world.clock.advance(60)
    assert not world.learn()  # less than twice as many
    world.add(calls(70, timedelta(seconds=20), world.clock.now()))
    assert world.learn()
    assert world.known().calls == 185
    told = known.read(world.settings.run_dir)
    assert told is not None
    assert told.about.lake_rows == 185


def test_what_is_ripe_stays_so_when_its_first_calls_leave_the_month(world: World) -> None:
    world.add(calls(600, timedelta(hours=1)))
    world.learn()
    before = world.known()
    world.clock.advance(29 * 86_400)
    world.add(calls(60, timedelta(minutes=1), world.clock.now()))
    assert world.learn()
    after = world.known()
    assert after.calls < 100
    assert (after.first_us, after.ripe_us) == (before.first_us, before.ripe_us)
    fresh = World(world.settings.data_dir, **{"guard.after_calls": 50})
    fresh.clock.advance(29 * 86_400)
    assert fresh.learn()  # another rule: what was worked out by the former one is forgotten
    assert fresh.known().first_us > before.first_us


def test_a_restart_and_a_garbled_file_do_no_harm(world: World, tmp_path: Path) -> None:
    world.add(calls(60, timedelta(hours=1)))
    world.learn()
    again = World(world.settings.data_dir)
    assert not again.learn()  # the lake is as it was
    known.path(world.settings.run_dir).write_bytes(b"garbage")
    again = World(world.settings.data_dir)
    assert again.learn()
    assert again.known().calls == 60


def test_anomalous_calls_do_not_feed_what_is_usual(world: World) -> None:
    world.add(calls(600, timedelta(hours=1)))
    world.learn()
    before = world.known()
    dear = {"cost_nano_usd": 10**12, "anomaly_score": 30.0, "anomaly_action": "warn"}
    made = calls(300, timedelta(minutes=1))
    for one in made:
        for name, value in dear.items():
            setattr(one, name, value)
    world.add(made)
    world.clock.advance(601)
    assert world.learn()
    assert world.known().usual_usd == pytest.approx(before.usual_usd)


def test_what_is_accepted_is_learnt_at_once_and_stays_so(world: World) -> None:
    world.add(calls(600, timedelta(hours=1)))
    dear = calls(60, timedelta(minutes=1), anomaly_score=30.0, anomaly_action="warn")
    for one in dear:
        one.cost_nano_usd = 30 * (one.cost_nano_usd or 0)
    world.add(dear)
    assert world.learn()
    before = world.known()
    assert (before.accepted_us, before.since_us) == (None, None)
    since, at = to_us(NOW - timedelta(minutes=90)), to_us(NOW)
    EventLog(world.settings.run_dir).append(Event(key_id="k", model="m", at_us=at, by="ann", since_us=since))
    world.clock.advance(60)
    assert world.learn()
    after = world.known()
    assert (after.accepted_us, after.since_us) == (at, since)
    assert (after.first_us, after.ripe_us) == (before.first_us, before.ripe_us)
    assert after.usual_usd is not None
    assert before.usual_usd is not None
    assert after.usual_usd > 3 * before.usual_usd
    world.clock.advance(60)
    assert not world.learn()
    again = World(world.settings.data_dir)
    again.clock.advance(3600)
    assert not again.learn()  # a restart forgets nothing
    EventLog(world.settings.run_dir).append(Event(key_id="k", model="m", at_us=at + 1, by="ann", since_us=at + 1))
    assert world.learn()  # taken back
    assert world.known().usual_usd == pytest.approx(before.usual_usd, rel=0.01)
    world.clock.advance(40 * 86_400)
    world.add(calls(60, timedelta(minutes=1), world.clock.now()))
    assert world.learn()
    assert world.known().accepted_us is None  # all that is learnt from came after it


def test_a_guard_that_is_off_learns_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, **{"guard.enabled": False})
    world.add(calls(60, timedelta(hours=1)))
    assert not world.learn()
    assert known.read(world.settings.run_dir) is None


def test_the_log_is_kept_short(world: World) -> None:
    log = EventLog(world.settings.run_dir)
    old, new = to_us(NOW - timedelta(days=3)), to_us(NOW - timedelta(minutes=5))
    for number in range(2500):
        log.append(
            Event(key_id="k", model="m", at_us=old, call_id=f"a-call-of-some-length-{number}", usual_usd=0.123456)
        )
    log.append(Event(key_id="k", model="m", at_us=new, call_id="new"))
    world.learn()
    assert [one.call_id for one in log.read()[1]] == ["new"]


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_anywhere_is_told_as_such(world: World, cut: float) -> None:
    world.add(calls(60, timedelta(hours=1)))
    world.learn()
    path = known.path(world.settings.run_dir)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(Corrupt, match="cannot be read"):
        known.read(world.settings.run_dir)
    path.write_bytes(whole.replace(b'"m"', b'"n"'))
    with pytest.raises(Corrupt, match="not whole"):
        known.read(world.settings.run_dir)


def test_the_worker_does_it(tmp_path: Path) -> None:
    now = SystemClock().now()
    settings = load(environ={}, overrides={"data.folder": str(tmp_path)})
    delta.append(Lake.open(settings, SystemClock()), schema.frame_from_records(calls(60, timedelta(seconds=1), now)))
    with alone.start(tmp_path):
        until = now + timedelta(seconds=30)
        while known.read(settings.run_dir) is None:
            assert SystemClock().now() < until
    told = known.read(settings.run_dir)
    assert told is not None
    assert told.known[PAIR].calls == 60
    assert rows_of(tmp_path).height == 60

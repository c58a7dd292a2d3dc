"""Passwords: what is kept of them, which are refused, signing in, delays, links for new people, sessions."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from msgspec.structs import replace

from proxy_server.control import app
from tests.access.folk import person
from tests.harness import ROOT, wait_until
from ultimate_lib.access import audits, delays, passwords, sessions, users
from ultimate_lib.access.addresses import network
from ultimate_lib.access.common_passwords import is_common
from ultimate_lib.access.principal import Principal
from ultimate_lib.access.tokens import digest
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Denied, Invalid, Limited, NotFound
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store, sign_ins, tables

GOOD = "violet tractor in june 7"
OTHER = "granite teapot, quiet moss"
HERE = "10.0.0.1"
MASTER = MasterKey(bytes(32))


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
def root(store: Store, clock: SteppedClock) -> Principal:
    return person(store, clock, "root", admin="all")


@pytest.fixture
def ann(store: Store, clock: SteppedClock, root: Principal) -> str:
    made = users.create(store, clock, root, name="ann", roles={"analyst": "team"}, password=GOOD)
    return str(made["id"])


def sign_in(store: Store, clock: SteppedClock, name: str = "ann", password: str = GOOD, address: str = HERE) -> str:
    return passwords.sign_in(store, clock, MASTER, name, password, address, "Firefox")


def kept(store: Store, user_id: str) -> str:
    with store.begin() as connection:
        query = sa.select(tables.users.c.password_hash).where(tables.users.c.id == user_id)
        return str(connection.execute(query).scalar_one())


def test_what_is_kept_is_argon2id_with_the_promised_costs(store: Store, ann: str) -> None:
    told = kept(store, ann)
    assert told.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert GOOD not in told


def test_a_password_signs_in_and_says_from_where(
    store: Store, clock: SteppedClock, root: Principal, ann: str
) -> None:
    token = sign_in(store, clock)
    found = sessions.lookup(store, clock, token)
    assert found is not None
    assert (found.user_id, found.view) == (ann, "team")
    (row,) = sessions.listed(store, clock, found, token)
    assert (row["address"], row["agent"], row["current"]) == (HERE, "Firefox", True)
    assert users.one(store, ann)["last_sign_in_at"] == clock.now()
    (told,) = audits.found(store, root, {"action": "session.start"}, limit=5)
    assert (told["actor"], told["after"], told["address"]) == ("ann", {"by": "password"}, HERE)


def test_lesson_L14_the_hash_is_not_accepted_as_the_password(store: Store, clock: SteppedClock, ann: str) -> None:
    with pytest.raises(Denied):
        sign_in(store, clock, password=kept(store, ann))


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", GOOD + "x"),
        ("ann", ""),
        ("ann", "x" * 100_000),
        ("nobody", GOOD),
        ("Ann", GOOD),
        ("", ""),
        ("root", ""),
        ("ann\0", GOOD),
        ("\0", ""),
    ],
)
def test_wrong_names_and_passwords_get_the_same_words(
    store: Store, clock: SteppedClock, ann: str, name: str, password: str
) -> None:
    with pytest.raises(Denied) as caught:
        sign_in(store, clock, name, password)
    assert (caught.value.message, caught.value.http_status, caught.value.code) == (
        "Name or password is wrong.",
        401,
        "login",
    )


def test_a_name_that_is_not_known_costs_one_look_at_a_hash_as_a_known_one_does(
    store: Store, clock: SteppedClock, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    true = PasswordHasher.verify

    def verify(self: PasswordHasher, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002 - argon2's name
        looked.append(str(hash).rpartition("$")[0].rpartition("$")[0])
        return true(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    for name in ("ann", "nobody", "root"):
        with pytest.raises(Denied):
            sign_in(store, clock, name, OTHER)
    assert looked == ["$argon2id$v=19$m=19456,t=2,p=1"] * 3


def test_who_is_deactivated_gets_the_same_words(store: Store, clock: SteppedClock, root: Principal, ann: str) -> None:
    users.deactivate(store, clock, root, ann)
    with pytest.raises(Denied, match="Name or password is wrong"):
        sign_in(store, clock)


def test_a_hash_with_other_costs_is_renewed_when_its_user_signs_in(
    store: Store, clock: SteppedClock, ann: str
) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(GOOD)
    with store.begin() as connection:
        connection.execute(sa.update(tables.users).where(tables.users.c.id == ann).values(password_hash=old))
    sign_in(store, clock)
    assert kept(store, ann).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    sign_in(store, clock)


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short pass1", "password_length"),
        ("x" * 129, "password_length"),
        ("ann.example's horse", "password_name"),
        ("ANN.EXAMPLE is mine", "password_name"),
        ("password1234", "password_common"),
        ("Password2026!!", "password_common"),
        ("P@ssw0rd!P@ssw0rd!", "password_common"),
        ("123456789012", "password_common"),
        ("qwertyuiop123", "password_common"),
        ("1q2w3e4r5t6y", "password_common"),
        ("aaaaaaaaaaaa", "password_common"),
        ("abababababab", "password_common"),
        ("iloveyou4ever!", "password_common"),
        ("correct horse battery staple", "password_common"),
        ("Summer2026Summer", "password_common"),
    ],
)
def test_a_password_that_is_easily_guessed_is_refused(password: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        passwords.hashed(password, "ann.example", "ann.example@example.org")
    assert caught.value.code == code


@pytest.mark.parametrize(
    "password",
    [GOOD, OTHER, "kT9#vLq2!xZp", "tractorvioletpond", "Überraschung im Käsefach", "東京の夜は静かで長いから歩く"],
)
def test_a_good_password_is_taken(password: str) -> None:
    assert not is_common(password.casefold())
    assert passwords.hashed(password, "bo", "bo@example.org").startswith("$argon2id$")


def test_the_same_letters_composed_otherwise_are_the_same_password(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    users.create(store, clock, root, name="zoe", roles={}, password="Mu\u0308hle am Wehr bei Nacht")
    assert sign_in(store, clock, "zoe", "M\u00fchle am Wehr bei Nacht")


# -- delays -------------------------------------------------------------------------------------------------------


def test_delays_grow_from_the_sixth_failure_to_a_quarter_of_an_hour() -> None:
    assert [delays.of_pair(failures) for failures in (0, 5, 6, 7, 8, 14, 15, 16, 10_000)] == [
        0, 0, 2, 4, 8, 512, 900, 900, 900,
    ]  # fmt: skip
    assert [delays.of_address(failures) for failures in (30, 31, 40, 10_000)] == [0, 2, 900, 900]
    assert [delays.of_known(failures) for failures in (5, 6, 10, 11, 10_000)] == [0, 2, 32, 60, 60]
    assert [delays.of_name(failures) for failures in (20, 21, 10_000)] == [0, 3, 3]


@pytest.mark.parametrize(
    ("rule", "most"),
    [(delays.of_pair, 20), (delays.of_address, 50), (delays.of_known, 80), (delays.of_name, 1240)],
)
def test_guesses_an_hour_are_as_few_as_the_page_of_rights_says(rule: Callable[[int], float], most: int) -> None:
    tries, at = 0, 0.0
    while at < 3600:
        tries += 1
        at += rule(tries)
    assert most * 0.8 < tries <= most
    text = " ".join((ROOT / "docs" / "rbac.md").read_text(encoding="utf-8").split())
    assert f"{most:,} an hour" in text


def fail(
    store: Store, clock: SteppedClock, name: str, times: int, address: str = HERE, *, wait_s: float = 0.0
) -> None:
    """Fail so often, waiting in between."""
    for number in range(times):
        clock.advance(wait_s if number else 0.0)
        with pytest.raises(Denied):
            sign_in(store, clock, name, OTHER, address)


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_a_name_that_fails_in_many_places_waits_some_seconds_and_no_longer(
    store: Store, clock: SteppedClock, ann: str, name: str
) -> None:
    for number in range(21):
        fail(store, clock, name, 1, f"10.0.1.{number}")
    fail(store, clock, name, 1, "10.0.9.9")
    with pytest.raises(Limited) as caught:
        sign_in(store, clock, name, GOOD, "10.0.9.9")
    assert (caught.value.http_status, caught.value.retry_after_s) == (429, 3.0)
    clock.advance(1.5)
    with pytest.raises(Limited) as caught:
        sign_in(store, clock, name, GOOD, "10.0.9.9")
    assert caught.value.retry_after_s == pytest.approx(1.5), "being told to wait makes it no longer"
    clock.advance(1.5)
    if name == "ann":
        assert sign_in(store, clock, name, GOOD, "10.0.9.9")
    else:
        fail(store, clock, name, 1, "10.0.9.9")


def test_nobody_shuts_the_owner_of_a_name_out(store: Store, clock: SteppedClock, ann: str) -> None:
    """Tries at a name for hours, each as soon as it may be: the owner comes in, at once or within seconds."""
    sign_in(store, clock, address="10.0.0.7")
    for number in range(22):
        clock.advance(300)
        fail(store, clock, "ann", 1, f"203.0.113.{number % 3}")
    with pytest.raises(Limited):
        sign_in(store, clock, address="203.0.113.0")
    assert sign_in(store, clock, address="10.0.0.7")
    assert sign_in(store, clock, address="10.0.0.8"), "also from a place where it never was"
    fail(store, clock, "ann", 1, "10.0.0.9")
    with pytest.raises(Limited) as caught:
        sign_in(store, clock, address="10.0.0.9")
    assert caught.value.retry_after_s == 3.0


def test_the_first_try_from_an_address_or_a_48_is_all_that_does_not_wait_for_the_name(
    store: Store, clock: SteppedClock, ann: str
) -> None:
    """Each /64 of three /48 tries without a pause: beside the free failures of the name, each /48 has one try."""
    got = 0
    for number in range(40):
        for site in range(3):
            try:
                sign_in(store, clock, "ann", OTHER, f"2001:db8:{site:x}:{number:x}::1")
            except Limited:
                continue
            except Denied:
                got += 1
    assert got == delays.FREE_OF_NAME + 1
    for site in range(3, 8):
        for number in range(2):
            try:
                sign_in(store, clock, "ann", OTHER, f"2001:db8:{site:x}:{number:x}::1")
            except Limited:
                continue
            except Denied:
                got += 1
    assert got == delays.FREE_OF_NAME + 1 + 5
    assert sign_in(store, clock, address="10.0.0.8"), "its owner comes in meanwhile"


def test_an_address_that_the_user_knows_waits_for_its_own_failures_alone(
    store: Store, clock: SteppedClock, ann: str
) -> None:
    known, neighbour = "2001:db8:1:2::7", "2001:db8:1:2:ffff::9"
    sign_in(store, clock, address=known)
    for number in range(31):
        with contextlib.suppress(Limited):
            fail(store, clock, f"user{number}", 1, neighbour)
        if number < 21:
            fail(store, clock, "ann", 1, f"10.0.1.{number}")
    for name, address in (("bob", neighbour), ("ann", "10.0.1.1")):
        with pytest.raises(Limited):
            sign_in(store, clock, name, OTHER, address)
    assert sign_in(store, clock, address=neighbour), "the same /64"
    clock.advance(40 * 60)
    fail(store, clock, "ann", 14, known, wait_s=60)
    with pytest.raises(Limited) as caught:
        sign_in(store, clock, address=known)
    assert caught.value.retry_after_s == 60.0
    clock.advance(60)
    assert sign_in(store, clock, address=known)
    clock.advance(31 * 24 * 3600)
    fail(store, clock, "ann", 14, known, wait_s=600)
    with pytest.raises(Limited) as caught:
        sign_in(store, clock, address=known)
    assert caught.value.retry_after_s == 512.0, "known no more"


def test_who_fails_at_a_shared_address_holds_up_no_other_name_there(
    store: Store, clock: SteppedClock, ann: str
) -> None:
    fail(store, clock, "root", 6)
    with pytest.raises(Limited):
        sign_in(store, clock, "root", OTHER)
    assert sign_in(store, clock)
    fail(store, clock, "root", 1, "10.0.0.2")


def test_an_ipv6_network_counts_as_one_address(store: Store, clock: SteppedClock, ann: str) -> None:
    for number in range(6):
        fail(store, clock, "bob", 1, f"2001:db8::{number:x}")
    with pytest.raises(Limited):
        sign_in(store, clock, "bob", OTHER, "2001:db8::ffff")
    fail(store, clock, "bob", 1, "2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") == "192.0.2.1"
    assert network("no address") == "no address"


def test_what_is_typed_as_an_unknown_name_is_kept_nowhere(
    store: Store, clock: SteppedClock, root: Principal, ann: str
) -> None:
    for name in (GOOD, "ann"):
        with pytest.raises(Denied):
            sign_in(store, clock, name, "x", f"10.0.3.{len(name)}")
    rows = audits.found(store, root, {"action": "session.refuse"}, limit=5)
    assert [row["object"] for row in rows] == ["name:ann", "unknown name"]
    assert GOOD not in str(rows)
    with store.begin() as connection:
        subjects = connection.execute(sa.select(tables.sign_in_failures.c.subject)).scalars().all()
    whole = {digest(text).hex()[:8] for text in (GOOD, GOOD.casefold())}
    assert not any(part in subject for part in (*whole, GOOD) for subject in subjects)


@pytest.mark.parametrize("name", ["ann", "bob"])
def test_no_delay_tells_whether_a_name_exists(store: Store, clock: SteppedClock, ann: str, name: str) -> None:
    group = digest(name).hex()[:4]
    twin = next(twin for number in itertools.count() if digest(twin := f"zz{number}").hex()[:4] == group)
    fail(store, clock, twin, 6)
    with pytest.raises(Limited):
        sign_in(store, clock, twin, OTHER)
    fail(store, clock, name, 1)


def test_an_address_that_failed_often_waits_whoever_it_tries(store: Store, clock: SteppedClock, ann: str) -> None:
    for number in range(31):
        fail(store, clock, f"user{number}", 1)
    with pytest.raises(Limited):
        sign_in(store, clock)
    assert sign_in(store, clock, address="10.0.0.2"), "another address does not"
    clock.advance(3600)
    assert sign_in(store, clock), "an hour later it is forgotten"


def test_signing_in_well_leaves_no_failure_behind(store: Store, clock: SteppedClock, ann: str) -> None:
    for _ in range(12):
        sign_in(store, clock)
    with store.begin() as connection:
        assert connection.execute(sa.select(tables.sign_in_failures)).all() == []


def test_many_tries_at_once_are_as_many_failures(store: Store, clock: SteppedClock, ann: str) -> None:
    got: list[type[Exception]] = []

    def attempt() -> None:
        try:
            sign_in(store, clock, "ann", OTHER)
        except (Denied, Limited) as error:
            got.append(type(error))

    for _ in range(9):
        threads = [threading.Thread(target=attempt) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got.count(Denied) == 6
    assert len(got) == 54


def test_only_a_few_wait_for_their_turn_and_two_of_an_address() -> None:
    turns = passwords._Turns(2, 4, 2)
    release, inside = threading.Event(), threading.Semaphore(0)

    def take(address: str) -> None:
        with turns.turn(address):
            inside.release()
            release.wait(10)

    def taken(number: int) -> bool:
        return turns._inside[False].total() == number

    threads = [threading.Thread(target=take, args=(address,)) for address in ("10.0.0.1", "2001:db8::1") * 2]
    for thread in threads[:2]:
        thread.start()
    assert inside.acquire(timeout=5)
    assert inside.acquire(timeout=5)
    threads[2].start()
    wait_until(lambda: taken(3), 5)
    with pytest.raises(passwords.Busy) as caught, turns.turn("10.0.0.1"):
        pass
    assert (caught.value.http_status, caught.value.retry_after_s) == (429, 1.0)
    threads[3].start()
    wait_until(lambda: taken(4), 5)
    for address in ("2001:db8::2", "10.0.0.9"):
        with pytest.raises(passwords.Busy), turns.turn(address):
            pass
    assert not inside.acquire(blocking=False), "two at a time"
    release.set()
    for thread in threads:
        thread.join()
    with turns.turn("10.0.0.9"):
        pass
    assert not any(turns._inside.values())


def test_sign_ins_leave_half_of_the_threads_to_pages() -> None:
    assert passwords.MOST_INSIDE * 2 <= app._THREADS
    assert passwords.MOST_INSIDE + passwords.KNOWN_INSIDE < app._THREADS


def test_strangers_who_take_all_places_hold_up_nobody_at_an_address_it_knows(
    store: Store, clock: SteppedClock, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(store, clock)
    turns = passwords._Turns(2, 1, 2, 1)
    monkeypatch.setattr(passwords, "_turns", turns)
    with turns.turn("2001:db8::1"):
        with pytest.raises(passwords.Busy):
            sign_in(store, clock, address="10.0.0.2")
        assert sign_in(store, clock)
    with turns.turn(HERE, known=True), pytest.raises(passwords.Busy):
        sign_in(store, clock)


def test_old_failures_are_removed_once_a_minute_and_not_at_each_try(
    store: Store, clock: SteppedClock, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[datetime] = []
    true: Callable[..., None] = sign_ins.forget_failures
    monkeypatch.setattr(
        sign_ins, "forget_failures", lambda connection, before: (removed.append(before), true(connection, before))
    )
    for number in range(4):
        fail(store, clock, "ann", 1, f"10.0.1.{number}")
        clock.advance(30)
    assert len(removed) == 2
    clock.advance(3600)
    fail(store, clock, "bob", 1)
    with store.begin() as connection:
        assert len(connection.execute(sa.select(tables.sign_in_failures)).all()) == 4
        found = sa.inspect(connection).get_indexes("sign_in_failures")
    assert [index["column_names"] for index in found] == [["last_failed_at"]]


def test_who_has_to_wait_takes_nobodys_turn(
    store: Store, clock: SteppedClock, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(store, clock, "ann", 6)
    monkeypatch.setattr(passwords, "_turns", passwords._Turns(1, 0, 0))
    with pytest.raises(Limited) as caught:
        sign_in(store, clock)
    assert caught.value.code == "login_delay"
    with pytest.raises(passwords.Busy):
        sign_in(store, clock, address="10.0.0.2")


# -- changing -----------------------------------------------------------------------------------------------------


def own(store: Store, clock: SteppedClock) -> tuple[Principal, str]:
    token = sign_in(store, clock)
    found = sessions.lookup(store, clock, token)
    assert found is not None
    return found, token


def test_ones_own_password_changes_with_the_former_one_and_ends_all_sessions(
    store: Store, clock: SteppedClock, root: Principal, ann: str
) -> None:
    me, token = own(store, clock)
    with pytest.raises(Invalid, match="one that it has"):
        passwords.change(store, clock, MASTER, me, ann, OTHER)
    with pytest.raises(Denied, match="current password is wrong"):
        passwords.change(store, clock, MASTER, me, ann, OTHER, current=OTHER)
    assert sessions.lookup(store, clock, token) is not None
    clock.advance(60)
    passwords.change(store, clock, MASTER, me, ann, OTHER, current=GOOD, address=HERE)
    assert sessions.lookup(store, clock, token) is None
    with pytest.raises(Denied):
        sign_in(store, clock)
    assert sign_in(store, clock, password=OTHER)
    assert users.one(store, ann)["password_changed_at"] == clock.now() - timedelta(0)
    (row,) = audits.found(store, root, {"action": "user.password"}, limit=5)
    assert (row["actor"], row["object"], row["before"], row["after"]) == ("ann", ann, None, {"by": "change"})


def test_anothers_password_is_set_by_who_manages_users_and_reaches_so_far(
    store: Store, clock: SteppedClock, root: Principal, ann: str
) -> None:
    me, token = own(store, clock)
    with pytest.raises(NotFound):
        passwords.change(store, clock, MASTER, me, root.user_id, OTHER)
    narrow = replace(root, permissions=frozenset({"users:manage"}), key_id="key_1")
    with pytest.raises(Denied, match="does not"):
        passwords.change(store, clock, MASTER, narrow, ann, OTHER)
    with pytest.raises(Denied, match="The user of this key"):
        passwords.change(store, clock, MASTER, narrow, root.user_id, OTHER)
    passwords.change(store, clock, MASTER, root, ann, OTHER)
    assert sessions.lookup(store, clock, token) is None
    assert sign_in(store, clock, password=OTHER)


# -- links for new people -----------------------------------------------------------------------------------------


def test_a_new_person_sets_a_password_by_a_link_once_within_a_day(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    made = users.create(store, clock, root, name="new", roles={"viewer": None})
    first, _ = sessions.password_link(store, clock, root, made["id"])
    link, until = sessions.password_link(store, clock, root, made["id"])
    assert until == clock.now() + timedelta(hours=24)
    with pytest.raises(Denied, match="link"):
        passwords.set_by_link(store, clock, first, GOOD, HERE, "Firefox")
    assert sessions.link_user(store, clock, link) == ("new", True)
    assert sessions.exchange_link(store, clock, link) is None, "it sets a password, it does not sign in"
    with pytest.raises(Invalid):
        passwords.set_by_link(store, clock, link, "password1234", HERE, "Firefox")
    token = passwords.set_by_link(store, clock, link, GOOD, HERE, "Firefox")
    found = sessions.lookup(store, clock, token)
    assert found is not None
    assert found.user_name == "new"
    with pytest.raises(Denied, match="link"):
        passwords.set_by_link(store, clock, link, OTHER, HERE, "Firefox")
    assert sign_in(store, clock, "new")
    late, _ = sessions.password_link(store, clock, root, made["id"])
    clock.advance(24 * 3600)
    with pytest.raises(Denied, match="link"):
        passwords.set_by_link(store, clock, late, OTHER, HERE, "Firefox")


def test_a_link_that_signs_in_sets_no_password(store: Store, clock: SteppedClock, ann: str) -> None:
    link = sessions.make_link(store, clock, ann)
    with pytest.raises(Denied, match="link"):
        passwords.set_by_link(store, clock, link, OTHER, HERE, "")
    assert sessions.exchange_link(store, clock, link) is not None


# -- sessions -----------------------------------------------------------------------------------------------------


def test_a_session_that_is_not_used_ends_when_there_is_a_limit(store: Store, clock: SteppedClock, ann: str) -> None:
    token = sign_in(store, clock)
    for _ in range(5):
        clock.advance(29 * 60)
        assert sessions.lookup(store, clock, token, idle_minutes=30) is not None
    clock.advance(31 * 60)
    assert sessions.lookup(store, clock, token, idle_minutes=30) is None
    assert sessions.lookup(store, clock, token) is not None, "without a limit it goes on"


def test_a_session_ends_after_a_day_however_often_it_is_used(store: Store, clock: SteppedClock, ann: str) -> None:
    token = sign_in(store, clock)
    for _ in range(24):
        assert sessions.lookup(store, clock, token) is not None
        clock.advance(3600)
    assert sessions.lookup(store, clock, token) is None


def test_that_a_session_is_used_is_written_once_a_minute(
    store: Store, clock: SteppedClock, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sign_in(store, clock)
    written: list[datetime] = []
    true: Callable[..., None] = sign_ins.seen
    monkeypatch.setattr(sign_ins, "seen", lambda connection, one, at: (written.append(at), true(connection, one, at)))
    for _ in range(180):
        sessions.lookup(store, clock, token)
        clock.advance(1)
    assert len(written) == 2


def test_ones_own_sessions_are_listed_and_ended_and_nobody_elses(
    store: Store, clock: SteppedClock, root: Principal, ann: str
) -> None:
    first = sign_in(store, clock)
    clock.advance(1)
    me, second = own(store, clock)
    rows = sessions.listed(store, clock, me, second)
    assert [row["current"] for row in rows] == [True, False]
    assert second not in str(rows)
    with pytest.raises(NotFound):
        sessions.end_own(store, clock, root, rows[0]["id"])
    assert sessions.end_own(store, clock, me, rows[1]["id"]) == 1
    assert sessions.lookup(store, clock, first) is None
    with pytest.raises(NotFound):
        sessions.end_own(store, clock, me, rows[1]["id"])
    assert sessions.lookup(store, clock, second) is not None
    narrow = replace(me, key_id="key_1", permissions=frozenset({"analytics:view"}))
    with pytest.raises(Denied):
        sessions.listed(store, clock, narrow, None)
    with pytest.raises(Denied):
        sessions.end_own(store, clock, narrow, None)
    assert sessions.end_own(store, clock, me, None) == 1
    assert sessions.lookup(store, clock, second) is None


def test_a_link_to_oneself_does_not_spare_the_old_password(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    link, _ = sessions.password_link(store, clock, root, root.user_id)  # the first password may come by one
    passwords.set_by_link(store, clock, link, GOOD, HERE, "Firefox")
    with pytest.raises(Denied, match="your own password"):
        sessions.password_link(store, clock, root, root.user_id)

"""The cache of keys: fresh within five seconds, and what a store that is away does to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from ultimate_lib.access import key_cache, keys, refusals
from ultimate_lib.access import tokens as looks
from ultimate_lib.access.key_cache import FRESH_S, GRACE_S, KeyCache, Unread
from ultimate_lib.access.principal import Principal
from ultimate_lib.access.roles import permissions_of
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.store import Store, identities, tables


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
def ada(store: Store, clock: SteppedClock) -> Principal:
    with store.begin() as connection:
        row = {"id": "user_ada", "name": "ada", "active": True, "created_at": clock.now()}
        identities.add_user(connection, row, ["api_user"])
    return Principal(user_id="user_ada", user_name="ada", permissions=permissions_of(["api_user"]))


def break_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def begin() -> Iterator[None]:
        raise Unavailable("away", code="store_unavailable")
        yield

    monkeypatch.setattr(store, "begin", begin)


def test_lesson_L12_keys_are_told_apart_though_they_share_a_beginning(
    store: Store, clock: SteppedClock, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = "cp_" + "s" * 17
    tokens = [shared + letter * 26 for letter in "abc"]
    given = iter(tokens[:2])
    monkeypatch.setattr(keys, "new_token", lambda: next(given))
    ids = [keys.create_key(store, clock, ada, name=name)[1]["id"] for name in ("a", "b")]
    cache = KeyCache(store, clock)
    assert all(looks.SHAPE.fullmatch(token) for token in tokens)
    for _ in range(2):
        found = [cache.lookup(token) for token in tokens]
        assert [one.key_id if one is not None else None for one in found] == [*ids, None]
    keys.revoke_key(store, clock, ada, ids[0])
    clock.advance(1)
    assert [cache.lookup(token) is not None for token in tokens] == [False, True, False]


def test_what_the_audit_does_not_tell_is_known_within_five_seconds(
    store: Store, clock: SteppedClock, ada: Principal
) -> None:
    token, _ = keys.create_key(store, clock, ada, name="k")
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    with store.begin() as connection:
        connection.execute(sa.update(tables.users).values(active=False))
    clock.advance(FRESH_S - 0.1)
    assert cache.kept(token) is not None
    clock.advance(0.1)
    with pytest.raises(Unread):
        cache.kept(token)
    assert cache.lookup(token) is None


def test_a_store_that_is_away_leaves_known_keys_a_minute_and_others_nothing(
    store: Store, clock: SteppedClock, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = keys.create_key(store, clock, ada, name="k")
    short, _ = keys.create_key(store, clock, ada, name="short", expires_in_days=1)
    wrong = "cp_" + "x" * 43
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    assert cache.lookup(wrong) is None
    with monkeypatch.context() as broken:
        break_store(store, broken)
        clock.advance(GRACE_S - 0.1)
        assert cache.lookup(token) is not None
        assert cache.away
        assert cache.kept(token) is not None
        for unknown in (wrong, short, "cp_" + "y" * 43):
            with pytest.raises(Unavailable):
                cache.lookup(unknown)
        clock.advance(0.1)
        with pytest.raises(Unavailable):
            cache.lookup(token)
        with pytest.raises(Unread):
            cache.kept(token)
    clock.advance(1)
    assert cache.lookup(token) is not None
    assert not cache.away


def test_expiry_holds_while_the_store_is_away(
    store: Store, clock: SteppedClock, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = keys.create_key(store, clock, ada, name="k", expires_in_days=1)
    cache = KeyCache(store, clock)
    clock.advance(86_400 - 10)
    assert cache.lookup(token) is not None
    break_store(store, monkeypatch)
    clock.advance(9)
    assert cache.lookup(token) is not None
    clock.advance(1)
    assert cache.lookup(token) is None


def test_a_read_that_took_long_does_not_undo_a_later_one(
    store: Store, clock: SteppedClock, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, row = keys.create_key(store, clock, ada, name="k")
    cache = KeyCache(store, clock)
    real = cache._read

    def slow(wanted: str) -> tuple[int, Principal | None]:
        found = real(wanted)
        monkeypatch.setattr(cache, "_read", real)
        keys.revoke_key(store, clock, ada, row["id"])
        clock.advance(1)
        assert cache.read(token) is None
        return found

    monkeypatch.setattr(cache, "_read", slow)
    cache.read(token)
    assert cache.kept(token) is None


def test_a_change_whose_audit_row_cannot_be_written_is_not_made(
    store: Store, clock: SteppedClock, ada: Principal
) -> None:
    _, row = keys.create_key(store, clock, ada, name="k")
    with store.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit RENAME TO elsewhere"))
    for change in (
        lambda: keys.create_key(store, clock, ada, name="new"),
        lambda: keys.change(store, clock, ada, row["id"], keys.KeyChange(name="x")),
        lambda: keys.rotate(store, clock, ada, row["id"], overlap_hours=1),
        lambda: keys.revoke_key(store, clock, ada, row["id"]),
    ):
        with pytest.raises(Unavailable):
            change()
    (left,) = keys.list_keys(store, ada.user_id)
    assert (left["name"], left["revoked_at"], left["version"]) == ("k", None, 1)


def test_sign_ins_and_refusals_leave_what_is_kept_of_keys_and_other_changes_do_not(
    store: Store, clock: SteppedClock, ada: Principal
) -> None:
    token, row = keys.create_key(store, clock, ada, name="k")
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    refusals.note(store, clock, "anonymous", "session.refuse", "name:eve", "192.0.2.1", "login")
    clock.advance(0.5)
    cache.look()
    assert cache.kept(token) is not None, "a stranger who fails to sign in has no key read anew"
    keys.revoke_key(store, clock, ada, row["id"])
    refusals.note(store, clock, "anonymous", "session.refuse", "name:eve", "192.0.2.2", "login")
    clock.advance(0.5)
    cache.look()
    with pytest.raises(Unread):
        cache.kept(token)
    assert cache.lookup(token) is None


def test_made_up_keys_drive_no_right_one_out(
    store: Store, clock: SteppedClock, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "_MOST_KEPT", 20)
    token, _ = keys.create_key(store, clock, ada, name="k")
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    for number in range(50):
        assert cache.lookup(f"cp_{number:043d}") is None
    assert cache.kept(token) is not None
    assert len(cache._kept) <= 20

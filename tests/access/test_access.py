"""Who may do what: roles, keys, sessions, the first start; and secrets at rest."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from ultimate_lib.access import keys, local, roles, sessions
from ultimate_lib.access.keys import KeyCache
from ultimate_lib.access.principal import Principal
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Corrupt, Denied, Invalid, NotFound, Unavailable
from ultimate_lib.sealed import MasterKey
from ultimate_lib.settings import Settings, load
from ultimate_lib.store import Store, audit, identities, tables


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(environ={}, overrides={"data.folder": str(tmp_path / "data")})


def principal(store: Store, clock: SteppedClock, name: str, *held: str) -> Principal:
    with store.begin() as connection:
        row = {"id": f"user_{name}", "name": name, "active": True, "created_at": clock.now()}
        identities.add_user(connection, row, held)
    return Principal(user_id=f"user_{name}", user_name=name, permissions=roles.permissions_of(held))


def test_the_roles_are_as_promised() -> None:
    assert len(roles.PERMISSIONS) == 17
    sizes = {name: len(held) for name, held in roles.ROLES.items()}
    assert sizes == {"viewer": 3, "analyst": 6, "moderator": 11, "admin": 17, "api_user": 2}
    chain = [roles.ROLES[name] for name in ("viewer", "analyst", "moderator", "admin")]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(chain))
    assert roles.permissions_of(["gone", "viewer"]) == roles.ROLES["viewer"]


def test_a_key_is_shown_once_and_kept_as_a_hash(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "api_user")
    token, row = keys.create_key(store, clock, ada, name="laptop")
    assert keys.SHAPE.fullmatch(token)
    assert token not in str(row)
    with store.begin() as connection:
        kept = connection.execute(sa.select(tables.keys)).mappings().one()
    assert kept["hash"] == hashlib.sha256(token.encode()).digest()
    assert token not in str(dict(kept))
    found = KeyCache(store, clock).lookup(token)
    assert found is not None
    assert (found.user_name, found.key_id) == ("ada", row["id"])
    assert found.permissions == {"proxy:call", "analytics:view"}
    assert [one["name"] for one in keys.list_keys(store, ada.user_id)] == ["laptop"]


def test_a_key_never_holds_more_than_its_maker(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "api_user")
    with pytest.raises(Denied, match="keys:manage"):
        keys.create_key(store, clock, ada, name="more", scopes=["proxy:call", "keys:manage"])
    with pytest.raises(Invalid, match="no permission"):
        keys.create_key(store, clock, ada, name="odd", scopes=["everything"])
    assert keys.list_keys(store, ada.user_id) == []


def test_a_role_taken_away_takes_the_keys_share_with_it(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "viewer", "api_user")
    token, _ = keys.create_key(store, clock, ada, name="k", scopes=["proxy:call", "reports:view"])
    with store.begin() as connection:
        connection.execute(sa.delete(tables.role_grants).where(tables.role_grants.c.role == "viewer"))
    found = KeyCache(store, clock).lookup(token)
    assert found is not None
    assert found.permissions == {"proxy:call"}


@pytest.mark.parametrize("change", ["revoked", "deactivated", "expired"])
def test_a_key_that_ended_is_refused_within_five_seconds(store: Store, clock: SteppedClock, change: str) -> None:
    ada = principal(store, clock, "ada", "api_user")
    token, row = keys.create_key(store, clock, ada, name="k", expires_in_days=1)
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    if change == "revoked":
        keys.revoke_key(store, clock, ada, row["id"])
    elif change == "deactivated":
        with store.begin() as connection:
            connection.execute(sa.update(tables.users).values(active=False))
    else:
        clock.advance(86_400)
    clock.advance(5)
    assert cache.lookup(token) is None


def test_another_process_that_writes_is_noticed_within_a_second(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "api_user")
    token, row = keys.create_key(store, clock, ada, name="k")
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    elsewhere = Store(str(store.url))
    keys.revoke_key(elsewhere, clock, ada, row["id"])
    elsewhere.close()
    clock.advance(0.6)
    assert cache.lookup(token) is None


def test_one_cannot_end_anothers_key_without_the_permission(store: Store, clock: SteppedClock) -> None:
    ada, bob = principal(store, clock, "ada", "api_user"), principal(store, clock, "bob", "api_user")
    _, row = keys.create_key(store, clock, ada, name="k")
    with pytest.raises(NotFound):
        keys.revoke_key(store, clock, bob, row["id"])
    root = principal(store, clock, "root", "admin")
    keys.revoke_key(store, clock, root, row["id"])
    with store.begin() as connection:
        actions = [r["action"] for r in connection.execute(sa.select(tables.audit)).mappings()]
        assert actions == ["key.create", "key.revoke"]
        assert audit.broken_at(connection) is None


def test_a_narrow_key_ends_itself_and_no_other_of_its_user(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "viewer", "api_user")
    _, wide = keys.create_key(store, clock, ada, name="wide", scopes=["proxy:call", "reports:view"])
    token, narrow = keys.create_key(store, clock, ada, name="narrow", scopes=["proxy:call"])
    acting = KeyCache(store, clock).lookup(token)
    assert acting is not None
    with pytest.raises(NotFound):
        keys.revoke_key(store, clock, acting, wide["id"])
    keys.revoke_key(store, clock, acting, narrow["id"])
    lives = {row["name"]: row["revoked_at"] is None for row in keys.list_keys(store, ada.user_id)}
    assert lives == {"wide": True, "narrow": False}


def test_lesson_l12_keys_with_a_shared_prefix_are_different_keys(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "api_user")
    token, _ = keys.create_key(store, clock, ada, name="k")
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    assert cache.lookup(token[:-1] + ("A" if token[-1] != "A" else "B")) is None


def test_lesson_l05_only_the_shape_of_a_key_reaches_the_store(
    store: Store, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(KeyCache, "_read", lambda _self, token: (0, asked.append(token)))
    cache = KeyCache(store, clock)
    for wrong in (
        "",
        "cp_",
        "cp_' OR 1=1 --",
        "cp_" + "a" * 42,
        "cp_" + "a" * 44,
        "sk-" + "a" * 43,
        "cp_" + "é" * 43,
    ):
        assert cache.lookup(wrong) is None
    assert asked == []
    cache.lookup("cp_" + "a" * 43)
    assert asked == ["cp_" + "a" * 43]


def test_a_sign_in_link_works_once_and_a_session_ends_after_a_day(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "viewer")
    link = sessions.make_link(store, clock, ada.user_id)
    session = sessions.exchange_link(store, clock, link)
    assert session is not None
    assert sessions.exchange_link(store, clock, link) is None, "used"
    late = sessions.make_link(store, clock, ada.user_id)
    clock.advance(31 * 60)
    assert sessions.exchange_link(store, clock, late) is None, "too old"
    found = sessions.lookup(store, clock, session)
    assert found is not None
    assert found.user_name == "ada"
    with store.begin() as connection:
        assert session not in str(connection.execute(sa.select(tables.sessions)).all())
    clock.advance(24 * 3600)
    assert sessions.lookup(store, clock, session) is None


def test_a_session_that_was_ended_is_nobodys(store: Store, clock: SteppedClock) -> None:
    ada = principal(store, clock, "ada", "viewer")
    session = sessions.exchange_link(store, clock, sessions.make_link(store, clock, ada.user_id))
    assert session is not None
    assert sessions.csrf_token(session) != sessions.csrf_token(session + "x")
    sessions.end(store, clock, session)
    assert sessions.lookup(store, clock, session) is None


def test_the_first_start_makes_a_private_local_json_with_a_key_for_loopback(
    store: Store, settings: Settings, clock: SteppedClock
) -> None:
    first = local.first_start(settings, store, clock)
    assert first.local_json is not None
    assert stat.S_IMODE(first.local_json.stat().st_mode) == 0o600
    told = json.loads(first.local_json.read_text())
    assert told["url"] == "http://127.0.0.1:8082"
    found = KeyCache(store, clock).lookup(told["key"])
    assert found is not None
    assert found.loopback_only
    assert found.permissions == roles.PERMISSIONS.keys()
    second = local.first_start(settings, store, clock)
    assert json.loads(first.local_json.read_text())["key"] == told["key"], "a working key stays"
    assert sessions.exchange_link(store, clock, second.link_token) is not None
    first.local_json.chmod(0o644)
    local.first_start(settings, store, clock)
    assert json.loads(first.local_json.read_text())["key"] != told["key"], "others could have read it"
    assert stat.S_IMODE(first.local_json.stat().st_mode) == 0o600


def test_no_local_key_when_it_is_turned_off(store: Store, settings: Settings, clock: SteppedClock) -> None:
    off = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, local_key=False))
    assert local.first_start(off, store, clock).local_json is None
    assert not local.local_path(off).exists()


def test_a_sealed_secret_opens_under_its_own_key_purpose_and_name_alone(settings: Settings) -> None:
    master = MasterKey.load(settings)
    path = settings.data_dir / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sealed = master.seal("provider", "openai", "sk-secret")
    assert b"sk-secret" not in sealed
    assert MasterKey.load(settings).open("provider", "openai", sealed) == "sk-secret"
    for purpose, name in (("channel", "openai"), ("provider", "anthropic"), ("providero", "penai")):
        with pytest.raises(Corrupt):
            master.open(purpose, name, sealed)
    with pytest.raises(Corrupt, match="another master key"):
        MasterKey(bytes(32)).open("provider", "openai", sealed)
    for position in range(4, len(sealed)):
        touched = bytearray(sealed)
        touched[position] ^= 1
        with pytest.raises(Corrupt):
            master.open("provider", "openai", bytes(touched))
    for short in (b"", sealed[:4], sealed[:16], sealed[:-1]):
        with pytest.raises(Corrupt):
            master.open("provider", "openai", short)


def test_lesson_l13_each_purpose_has_its_own_key(settings: Settings) -> None:
    master = MasterKey.load(settings)
    assert len({master.derive(purpose) for purpose in ("provider", "channel", "request-hash")}) == 3


def test_a_master_key_from_the_environment_or_a_wrong_one(tmp_path: Path) -> None:
    given = base64.b64encode(bytes(range(32))).decode()
    folder = {"data.folder": str(tmp_path / "data")}
    MasterKey.load(load(environ={"ULTIMATE_MASTER_KEY": given}, overrides=folder))
    assert not (tmp_path / "data" / "master.key").exists()
    for wrong in ("short", base64.b64encode(b"x" * 31).decode()):
        with pytest.raises(Invalid, match="master key"):
            MasterKey.load(load(environ={"ULTIMATE_MASTER_KEY": wrong}, overrides=folder))
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="--data"):
        MasterKey.load(load(environ={}, overrides={"data.folder": str(tmp_path / "file" / "data")}))

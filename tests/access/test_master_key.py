"""The master key is changed under everything that is sealed, and a kill at any step loses nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ultimate_lib.access import master, once, provider_keys
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Corrupt
from ultimate_lib.sealed import MasterKey, key_file
from ultimate_lib.settings import Settings, load
from ultimate_lib.store import Store, audit, kept_answers, sealed, tables

CLOCK = SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
SECRETS = {f"provider:p{number}@https://p{number}.example": f"sk-{number}" for number in range(5)}


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(environ={}, overrides={"data.folder": str(tmp_path / "data")})


@pytest.fixture
def key(settings: Settings, store: Store) -> Iterator[MasterKey]:
    """A master key under which some things are sealed."""
    made = MasterKey.load(settings)
    with store.begin() as connection:
        for name, secret in SECRETS.items():
            sealed.put(connection, name, made.seal(provider_keys.PURPOSE, name, secret), CLOCK.now())
        kept_answers.claim(connection, "user_a", "n", b"hash", CLOCK.now())
        body = made.seal(once.PURPOSE, "user_a:n", '{"key": "cp_x"}')
        kept_answers.keep(connection, "user_a", "n", CLOCK.now(), status=201, ciphertext=body)
    yield made
    assert opened(store, MasterKey.load(settings)) == opened(store, made), "a process that runs goes along"


def opened(store: Store, key: MasterKey) -> dict[str, str]:
    with store.begin() as connection:
        rows = sealed.everything(connection)
    return {
        name: key.open(purpose, name, row.ciphertext) for row in rows for purpose, name in [master._bound_to(row)]
    }


EVERYTHING = {**SECRETS, "user_a:n": '{"key": "cp_x"}'}


def rotate(store: Store, settings: Settings) -> master.Rotated:
    return master.rotate(store, CLOCK, MasterKey.load(settings), actor="ada", pause=lambda _: None)


def test_everything_is_sealed_under_the_new_key_alone(store: Store, settings: Settings, key: MasterKey) -> None:
    before = MasterKey(base64.b64decode(key_file(settings).read_text()))
    assert rotate(store, settings) == (6, True)
    after = MasterKey.load(settings)
    assert after.id != before.id
    assert not after.rotating
    assert key_file(settings).stat().st_mode & 0o077 == 0
    assert opened(store, after) == EVERYTHING
    with pytest.raises(Corrupt, match="another master key"):
        opened(store, before)
    with store.begin() as connection:
        actions = list(connection.execute(sa.select(tables.audit.c.action)).scalars())
        assert actions == ["master_key.rotate"]
        assert audit.broken_at(connection) is None
    name = next(iter(SECRETS))
    assert (
        after.open("p", name, key.seal("p", name, "sealed by a process that ran")) == "sealed by a process that ran"
    )


def test_killed_at_any_step_everything_opens_and_asking_again_ends_it(
    store: Store, settings: Settings, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [(MasterKey, "_write"), (sealed, "seal_again"), (audit, "append"), (Path, "replace")]
    kills = 0
    for owner, name in steps:
        real = getattr(owner, name)
        for when in ("before", "after"):
            for count in range(1, 4):
                left = [count]

                def dies(
                    *told: object, real: Any = real, left: Any = left, when: str = when, **more: object
                ) -> object:
                    left[0] -= 1
                    if left[0] == 0 and when == "before":
                        raise Killed
                    value = real(*told, **more)
                    if left[0] == 0:
                        raise Killed
                    return value

                with monkeypatch.context() as patch:
                    patch.setattr(owner, name, dies)
                    try:
                        rotate(store, settings)
                    except Killed:
                        kills += 1
                assert opened(store, MasterKey.load(settings)) == EVERYTHING, (name, when, count)
    assert kills >= 10
    rotate(store, settings)
    assert not MasterKey.load(settings).rotating


def test_a_key_of_the_environment_is_rotated_by_its_owner(store: Store, settings: Settings, key: MasterKey) -> None:
    old, new = key_file(settings).read_text().strip(), base64.b64encode(bytes(range(32))).decode()
    folder = {"data.folder": str(settings.data_dir)}
    both = MasterKey.load(load(environ={"ULTIMATE_MASTER_KEY": f"{new} {old}"}, overrides=folder))
    assert master.rotate(store, CLOCK, both, actor="ada", pause=lambda _: None) == (6, False)
    alone = MasterKey.load(load(environ={"ULTIMATE_MASTER_KEY": new}, overrides=folder))
    assert opened(store, alone) == EVERYTHING
    key_file(settings).write_text(f"{new}\n")  # for the fixture's last look


def test_a_value_that_does_not_open_keeps_the_old_key(store: Store, settings: Settings, key: MasterKey) -> None:
    name = next(iter(SECRETS))
    with store.begin() as connection:
        sealed.put(connection, name, key.seal(provider_keys.PURPOSE, "another name", "x"), CLOCK.now())
    with pytest.raises(Corrupt, match="does not open"):
        rotate(store, settings)
    assert MasterKey.load(settings).rotating
    with store.begin() as connection:
        sealed.remove(connection, [name])
    assert rotate(store, settings).dropped


def test_lesson_L13_swapped_ciphertexts_do_not_open(store: Store, settings: Settings, key: MasterKey) -> None:
    first, second = list(SECRETS)[:2]
    with store.begin() as connection:
        rows = sealed.beginning(connection, "provider:")
    for purpose, name, row in (
        (provider_keys.PURPOSE, first, rows[second]),
        (once.PURPOSE, first, rows[first]),
        ("channel", first, rows[first]),
    ):
        with pytest.raises(Corrupt):
            key.open(purpose, name, row)
    assert key.open(provider_keys.PURPOSE, first, rows[first]) == SECRETS[first]

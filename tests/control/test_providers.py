"""Providers' keys in control alone: entered once, sealed, never told; refused where the configuration has the say."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control import alone
from tests.control.alone import Alone
from ultimate_lib.access import provider_keys
from ultimate_lib.access.principal import Principal
from ultimate_lib.providers import configured, offered
from ultimate_lib.sealed import MasterKey
from ultimate_lib.settings import load
from ultimate_lib.store import audit

KEY = "sk-ant-secret-0123456789abcdef"


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def provider(control: Alone, name: str) -> dict[str, Any]:
    return next(one for one in control.get("/api/providers").json if one["name"] == name)


def put(control: Alone, name: str = "anthropic", key: str = KEY) -> alone.Reply:
    return control.ask("PUT", f"/api/providers/{name}/key", key=control.key, told={"key": key})


def stored(control: Alone) -> provider_keys.StoredKeys:
    return provider_keys.read(control.bench.store, MasterKey.load(control.bench.settings))


def test_a_key_goes_in_and_never_comes_out(control: Alone, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = provider(control, "anthropic")
    assert (before["has_key"], before["key_source"], before["can_store"], before["in_force"]) == (
        False,
        None,
        True,
        False,
    )
    assert any(name.startswith("claude-sonnet") for name in before["models"])
    reply = put(control)
    assert (reply.status, reply.json["has_key"], reply.json["base_url"]) == (200, True, "https://api.anthropic.com")
    assert reply.json["in_force"] is False, "there is no gateway here that could go by it"
    after = provider(control, "anthropic")
    assert (after["has_key"], after["key_source"], after["in_force"]) == (True, "stored", True)
    assert stored(control).key("anthropic", "https://api.anthropic.com") == KEY
    assert stored(control).key("anthropic", "https://evil.example") == ""
    said = [control.get("/api/providers").text, reply.text, caplog.text, control.get("/").text]
    assert not any(KEY in text or "secret-0123" in text for text in said)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file
    assert control.ask("DELETE", "/api/providers/anthropic/key", key=control.key).json["has_key"] is False
    assert provider(control, "anthropic")["has_key"] is False
    assert control.ask("DELETE", "/api/providers/anthropic/key", key=control.key).status == 404
    with control.bench.store.begin() as connection:
        assert audit.broken_at(connection) is None
        rows = connection.exec_driver_sql("SELECT action, object, after FROM audit WHERE action LIKE 'provider%'")
        assert [tuple(row)[:2] for row in rows] == [
            ("provider_key.set", "anthropic"),
            ("provider_key.remove", "anthropic"),
        ]


@pytest.mark.parametrize("key", ["", "   ", "cp_" + "x" * 43, "sk one", "sk-\r\nx-evil: 1", "sk-größe", "s" * 5000])
def test_what_is_no_key_is_refused_without_being_shown(control: Alone, key: str) -> None:
    reply = put(control, key=key)
    assert reply.status == 400, reply.text
    assert not key.strip() or key not in reply.text
    assert provider(control, "anthropic")["has_key"] is False


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"key": 5}', b'{"key": "sk-1", "base_url": "http://x"}', b"[1]", b"{"]
)
def test_a_body_that_is_wrong_changes_nothing(control: Alone, body: bytes) -> None:
    reply = control.ask(
        "PUT",
        "/api/providers/anthropic/key",
        key=control.key,
        body=body,
        headers={"Content-Type": "application/json"},
    )
    assert reply.status == 400
    assert provider(control, "anthropic")["has_key"] is False


@pytest.mark.parametrize(("name", "status"), [("nobody", 404), ("azure-openai", 404), ("ollama", 404)])
def test_a_provider_that_takes_no_key_here(control: Alone, name: str, status: int) -> None:
    assert put(control, name).status == status


def test_the_permission_is_settings_manage_even_for_a_session(control: Alone) -> None:
    for role in ("viewer", "analyst", "moderator", "api_user"):
        key = control.add_user(role, role)
        assert control.get("/api/providers", key=key).status == 403
        assert control.ask("PUT", "/api/providers/anthropic/key", key=key, told={"key": KEY}).status == 403
        assert control.ask("DELETE", "/api/providers/anthropic/key", key=key).status == 403
    cookie = control.sign_in()
    foreign = {"Cookie": cookie, "Origin": "http://evil.example", "Content-Type": "application/json"}
    reply = control.ask("PUT", "/api/providers/anthropic/key", headers=foreign, body=b'{"key": "sk-evil"}')
    assert (reply.status, reply.json["error"]["code"]) == (403, "origin")
    own = {**foreign, "Origin": f"http://{control.host}"}
    reply = control.ask("PUT", "/api/providers/anthropic/key", headers=own, body=b'{"key": "sk-evil"}')
    assert (reply.status, reply.json["error"]["code"]) == (403, "csrf")
    assert provider(control, "anthropic")["has_key"] is False


def test_the_configuration_wins_and_what_is_entered_is_refused_not_ignored(tmp_path: Path) -> None:
    settings = load(environ={"ANTHROPIC_API_KEY": "sk-of-the-environment"}, overrides={"data.folder": str(tmp_path)})
    found = configured(settings, stored=lambda name, base_url: "sk-stored")
    assert (found["anthropic"].api_key, found["anthropic"].key_source) == (
        "sk-of-the-environment", "variable ANTHROPIC_API_KEY",
    )  # fmt: skip
    assert (found["openai"].api_key, found["openai"].key_source) == ("sk-stored", "stored")


def test_a_key_is_for_its_address_alone_and_gone_once_that_has_changed(control: Alone) -> None:
    put(control, "openai", "sk-openai-1")
    put(control, "openai", "sk-openai-2")
    moved = load(None, {}, text='[providers.openai]\nbase_url = "https://evil.example/v1"\n')
    provider = configured(moved, stored=stored(control).key)["openai"]
    assert (provider.api_key, provider.lacks_key) == ("", True)
    store, clock = control.bench.store, control.bench.clock
    assert (
        provider_keys.remove_moved(
            store, clock, configured(control.bench.settings, stored=stored(control).key).values()
        )
        == []
    )
    assert stored(control).key("openai", "https://api.openai.com/v1") == "sk-openai-2"
    assert provider_keys.remove_moved(store, clock, [provider]) == ["openai"]
    assert stored(control).key("openai", "https://api.openai.com/v1") == "", "gone for good, also for the old address"


def test_a_key_under_another_master_key_is_told_as_a_problem(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        put(control)
        other = provider_keys.read(control.bench.store, MasterKey(b"x" * 32))
        assert other.key("anthropic", "https://api.anthropic.com") == ""
        assert "another master key" in other.problems["anthropic"]
        assert other.mark != stored(control).mark, "who opens with another key does not go by the same keys"
    (tmp_path / "master.key").unlink()
    with alone.start(tmp_path) as control:
        told = provider(control, "anthropic")
        assert (told["has_key"], told["in_force"], told["can_store"]) == (False, False, True)
        assert "master key" in told["problem"]


def test_a_master_key_that_is_lost_meanwhile_does_not_part_control_from_the_gateways(control: Alone) -> None:
    put(control)
    held = MasterKey.load(control.bench.settings)  # as the gateways hold it since they started
    (control.bench.settings.data_dir / "master.key").unlink()
    assert put(control, key="sk-ant-second").status == 200
    assert provider(control, "anthropic")["problem"] is None
    opened = provider_keys.read(control.bench.store, held)
    assert opened.key("anthropic", "https://api.anthropic.com") == "sk-ant-second", opened.problems


def test_the_key_of_a_provider_that_is_not_configured_any_more_can_be_removed(tmp_path: Path) -> None:
    named = load(None, {}, text='[providers.mine]\nprotocol = "openai-chat"\nbase_url = "https://mine.example/v1"\n')
    with alone.start(tmp_path) as control:
        master = MasterKey.load(control.bench.settings)
        who = Principal(user_id=control.admin_id, user_name="admin", permissions=frozenset())
        mine = offered(named)["mine"]
        provider_keys.put(control.bench.store, control.bench.clock, master, who, mine, KEY)
        reply = control.ask("DELETE", "/api/providers/mine/key", key=control.key)
        assert (reply.status, reply.json["has_key"]) == (200, False), reply.text
        assert stored(control).key("mine", "https://mine.example/v1") == ""
        assert control.ask("DELETE", "/api/providers/mine/key", key=control.key).status == 404

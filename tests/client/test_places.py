"""Where the proxy is found, which key goes where, and the client's own settings."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_proxy import BadRequest, ProxyError, config, places
from claude_proxy.places import Place
from tests.client.commands import claude_proxy

KEY = "cp_" + "a" * 43


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def local(folder: Path, url: str, key: str = "cp_local") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "local.json").write_text(json.dumps({"url": url, "key": key}))


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"CLAUDE_PROXY_HOME": str(tmp_path / "own"), "ULTIMATE_DATA_FOLDER": str(tmp_path / "data"), **more}


def test_what_is_given_wins_then_the_environment_then_the_settings_then_this_computer(
    tmp_path: Path, listening: int
) -> None:
    env = environ(tmp_path)
    here = f"http://127.0.0.1:{listening}"
    assert places.find(environ=env) == Place(places.DEFAULT_URL, "", "nothing says another")
    local(tmp_path / "data", here)
    assert places.find(environ=env) == Place(here, "cp_local", str(tmp_path / "data" / "local.json"))
    config.change("base_url", "https://a.example/", env)
    config.change("api_key", KEY, env)
    assert places.find(environ=env) == Place("https://a.example", KEY, str(tmp_path / "own" / "config.json"))
    named = {**env, "CLAUDE_PROXY_URL": "https://b.example/v1", "CLAUDE_PROXY_API_KEY": "cp_env"}
    assert places.find(environ=named) == Place("https://b.example", "cp_env", "CLAUDE_PROXY_URL")
    assert places.find("http://c.example", "cp_given", environ=named) == Place(
        "http://c.example", "cp_given", "given"
    )


def test_a_key_beside_an_address_goes_to_that_address_alone(tmp_path: Path) -> None:
    env = environ(tmp_path)
    local(tmp_path / "data", "http://127.0.0.1:1")
    assert places.find("http://localhost:1", environ=env).key == "cp_local", "the same server by another name"
    assert places.find("http://evil.example:1", environ=env).key == ""
    assert places.find("http://127.0.0.1:2", environ=env).key == ""
    config.change("api_key", KEY, env)
    assert places.find("http://a.example", environ=env).key == KEY, "a key alone is for any address"
    config.change("base_url", "http://a.example", env)
    assert places.find("http://b.example", environ=env).key == ""
    assert places.find("http://a.example/", environ=env).key == KEY


@pytest.mark.parametrize("url", ["http://127.0.0.1:80x82", "http://127.0.0.1:99999", "http://[::1"])
def test_what_is_no_address_is_said_in_a_sentence(tmp_path: Path, url: str) -> None:
    env = environ(tmp_path)
    local(tmp_path / "data", "http://127.0.0.1:1")
    with pytest.raises(ProxyError, match="CLAUDE_PROXY_URL"):
        places.find(environ={**env, "CLAUDE_PROXY_URL": url})
    config.change("base_url", url, env)
    config.change("api_key", KEY, env)
    with pytest.raises(ProxyError, match=r"config\.json"):
        places.find(environ=env)
    assert places.find("http://127.0.0.1:2", environ=env).key == "", "the key is for an address that there is not"


def test_a_proxy_that_listens_is_preferred(tmp_path: Path, listening: int) -> None:
    env = environ(tmp_path)
    local(tmp_path / "data", "http://127.0.0.1:1")
    local(tmp_path / "data" / "demo", f"http://127.0.0.1:{listening}")
    assert places.find(environ=env).url == f"http://127.0.0.1:{listening}"


def test_a_place_shows_no_key() -> None:
    assert KEY not in repr(Place("http://a", KEY, "given"))


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_settings_that_cannot_be_read_are_said(tmp_path: Path, text: str) -> None:
    env = environ(tmp_path)
    path = places.config_path(env)
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ProxyError, match=r"config\.json"):
        places.find(environ=env)


def test_settings_are_their_owners_alone_and_replaced_whole(tmp_path: Path) -> None:
    env = environ(tmp_path)
    old = os.umask(0)
    try:
        config.change("api_key", KEY, env)
        config.change("url", "http://a.example", env)
    finally:
        os.umask(old)
    path = places.config_path(env)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert json.loads(path.read_text()) == {"api_key": KEY, "base_url": "http://a.example"}
    path.chmod(0o644)
    config.change("api_key", None, env)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path], "nothing is left over"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "red"), ("output", "xml"), ("base_url", "localhost"), ("timeout", "nan"), ("api_key", " "),
        ("key", "a\nb"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_and_nothing_is_written(tmp_path: Path, name: str, value: str) -> None:
    env = environ(tmp_path)
    with pytest.raises(BadRequest):
        config.change(name, value, env)
    assert not places.config_path(env).exists()


def test_what_is_no_real_key_is_saved_with_a_warning(tmp_path: Path) -> None:
    done = claude_proxy(tmp_path, "config", "set", "api_key", "cp_your_key")
    assert (done.status, "Warning" in done.err, done.out) == (0, True, "")
    assert json.loads((tmp_path / ".claude_proxy" / "config.json").read_text()) == {"api_key": "cp_your_key"}
    real = claude_proxy(tmp_path, "config", "set", "api_key", stdin=f"{KEY}\n")
    assert (real.status, "Warning" in real.err) == (0, False)
    for words in (("config", "show"), ("config", "get", "api_key"), ("config", "show", "-o", "json")):
        shown = claude_proxy(tmp_path, *words)
        assert (shown.status, KEY in shown.out, "cp_aaaa…" in shown.out) == (0, False, True)
    assert claude_proxy(tmp_path, "config", "unset", "api_key").status == 0
    assert claude_proxy(tmp_path, "config", "get", "api_key").status == 1
    assert claude_proxy(tmp_path, "config", "set", "apikey", "x").status == 2


def test_a_setting_that_stops_commands_can_be_mended_by_one(tmp_path: Path) -> None:
    (tmp_path / ".claude_proxy").mkdir()
    (tmp_path / ".claude_proxy" / "config.json").write_text('{"output": "xml"}')
    done = claude_proxy(tmp_path, "config", "show")
    assert (done.status, "config set output table" in done.err) == (2, True)
    assert claude_proxy(tmp_path, "config", "set", "output", "table").status == 0
    assert claude_proxy(tmp_path, "config", "show").status == 0

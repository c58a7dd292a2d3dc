"""A pasted key in real processes: the next call carries it, a restart keeps it, nothing shows it, removal ends it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.scripted import Scripted, answer
from tests.harness import Running, start_proxy, wait_until

KEY, SECOND = "sk-ant-pasted-0123456789abcdef", "sk-ant-second-fedcba9876543210"
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 9, "output_tokens": 3},
}  # fmt: skip


@pytest.fixture
def upstream() -> Iterator[Scripted]:
    scripted = Scripted()
    scripted.script = answer(json.dumps(MESSAGE).encode())
    yield scripted
    scripted.close()


def config(upstream: Scripted, path: str = "") -> str:
    return f'[server]\ngateways = 2\n[providers.anthropic]\nbase_url = "{upstream.url}{path}"\n'


def ask(proxy: Running, method: str, path: str, told: Any = None) -> tuple[int, Any]:
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers = {"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(told) if told is not None else None, headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text)


def call(proxy: Running) -> tuple[int, Any]:
    return ask(
        proxy, "POST", "/v1/messages",
        {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    )  # fmt: skip


def ready(proxy: Running) -> None:
    wait_until(lambda: ask(proxy, "GET", "/readyz")[0] == 200, 30, proxy)


def shows(folder: Path, *keys: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files for key in keys if key.encode() in path.read_bytes()]


def test_paste_call_restart_replace_remove(tmp_path: Path, upstream: Scripted) -> None:
    path = "/api/providers/anthropic/key"
    with start_proxy(tmp_path, config=config(upstream)) as proxy:
        ready(proxy)
        status, told = call(proxy)
        assert (status, upstream.requests) == (404, [])
        assert "has no key" in told["error"]["message"]
        began = time.monotonic()
        status, told = ask(proxy, "PUT", path, {"key": KEY})
        print(f"\na pasted key is in force in both gateways after {time.monotonic() - began:.2f} s")
        assert (status, told["in_force"]) == (200, True)
        for number in range(6):  # both gateways
            assert call(proxy)[0] == 200
            assert upstream.requests[number].header("x-api-key") == KEY
        told = [ask(proxy, "GET", one)[1] for one in ("/api/providers", "/api/system/status", "/api/calls/x")]
        assert KEY not in json.dumps(told)
        assert KEY not in proxy.log()
        proxy.reload()
        assert call(proxy)[0] == 200
        assert upstream.requests[-1].header("x-api-key") == KEY
    with start_proxy(tmp_path, config=config(upstream)) as proxy:
        ready(proxy)
        assert call(proxy)[0] == 200
        assert upstream.requests[-1].header("x-api-key") == KEY
        assert ask(proxy, "PUT", path, {"key": SECOND})[1]["in_force"] is True
        for _ in range(4):
            assert call(proxy)[0] == 200
            assert upstream.requests[-1].header("x-api-key") == SECOND
        status, told = ask(proxy, "DELETE", path)
        assert (status, told["in_force"], told["has_key"]) == (200, True, False)
        sent = len(upstream.requests)
        assert call(proxy)[0] == 404
        assert len(upstream.requests) == sent, "refused, and nothing went out"
    with start_proxy(tmp_path, config=config(upstream)) as proxy:
        ready(proxy)
        assert call(proxy)[0] == 404, "a start without the key is a start all the same"
    assert shows(tmp_path, KEY, SECOND) == []


def test_a_key_pasted_under_load_fails_no_call(tmp_path: Path, upstream: Scripted) -> None:
    path = "/api/providers/anthropic/key"
    with start_proxy(tmp_path, config=config(upstream)) as proxy:
        ready(proxy)
        ask(proxy, "PUT", path, {"key": KEY})
        failed: list[int] = []
        stop = threading.Event()

        def on_and_on() -> None:
            while not stop.is_set():
                status, _ = call(proxy)
                if status != 200:
                    failed.append(status)

        threads = [threading.Thread(target=on_and_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(4):
            assert ask(proxy, "PUT", path, {"key": f"{KEY}-{number}"})[1]["in_force"] is True
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(upstream.requests) > 50
        assert call(proxy)[0] == 200
        assert upstream.requests[-1].header("x-api-key") == f"{KEY}-3"


def test_a_changed_address_never_sees_the_key_and_clears_it(tmp_path: Path, upstream: Scripted) -> None:
    other = Scripted()
    other.script = answer(json.dumps(MESSAGE).encode())
    try:
        with start_proxy(tmp_path, config=config(upstream)) as proxy:
            ready(proxy)
            ask(proxy, "PUT", "/api/providers/anthropic/key", {"key": KEY})
            assert call(proxy)[0] == 200
            proxy.reload(config(other))
            ready(proxy)
            assert call(proxy)[0] == 404
            assert other.requests == []
            wait_until(lambda: "its stored key is removed" in proxy.log(), 10, proxy)
            proxy.reload(config(upstream))
            ready(proxy)
            assert call(proxy)[0] == 404, "gone, also for the address it was for"
            assert len(upstream.requests) == 1
    finally:
        other.close()


def test_a_key_of_the_environment_wins_and_a_preset_that_nobody_configured_becomes_routable(
    tmp_path: Path, upstream: Scripted
) -> None:
    env = {"ANTHROPIC_API_KEY": "sk-of-the-environment"}
    with start_proxy(tmp_path, config=config(upstream), env=env) as proxy:
        ready(proxy)
        status, told = ask(proxy, "PUT", "/api/providers/anthropic/key", {"key": KEY})
        assert (status, told["error"]["code"]) == (400, "provider_key_configured")
        assert "ANTHROPIC_API_KEY" in told["error"]["message"]
        assert call(proxy)[0] == 200
        assert upstream.requests[-1].header("x-api-key") == "sk-of-the-environment"
        listed = {one["name"]: one for one in ask(proxy, "GET", "/api/providers")[1]}
        assert (listed["openai"]["in_force"], listed["openai"]["can_store"]) == (False, True)
        assert ask(proxy, "GET", "/v1/models/gpt-4o-mini")[0] == 404
        assert ask(proxy, "PUT", "/api/providers/openai/key", {"key": "sk-one"})[1]["in_force"] is True
        status, told = ask(proxy, "GET", "/v1/models/gpt-4o-mini")
        assert status == 200, told
        assert ask(proxy, "DELETE", "/api/providers/openai/key")[1]["in_force"] is True
        assert ask(proxy, "GET", "/v1/models/gpt-4o-mini")[0] == 404

"""Every route: who may ask, what may be asked, and what is answered when the proxy does not do as it should."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.web import RequestHandler

from jupyterlab_ultimate_proxy import routes
from jupyterlab_ultimate_proxy.routes import ALLOWED
from jupyterlab_ultimate_proxy.upstream import Upstream
from tests.extension.conftest import KEY, Scripted

Fetch = Callable[..., Awaitable[HTTPResponse]]

EVERY_ROUTE = [
    ("GET", "state"),
    ("POST", "start"),
    ("POST", "stop"),
    ("GET", "api/analytics/aggregate"),
    ("GET", "api/analytics/breakdown"),
    ("GET", "api/analytics/timeseries"),
    ("GET", "api/analytics/calls"),
    ("GET", "api/calls/01hx"),
    ("GET", "api/live"),
    ("GET", "api/budgets/status"),
    ("GET", "api/providers"),
    ("PUT", "api/providers/openai/key"),
    ("DELETE", "api/providers/openai/key"),
]


def body_of(method: str) -> str | None:
    return '{"key": "sk-1"}' if method in {"PUT", "POST"} else None


async def refused(asked: Awaitable[HTTPResponse]) -> tuple[int, dict[str, Any]]:
    """The status and the error of an answer that is one."""
    with pytest.raises(HTTPClientError) as told:
        await asked
    assert told.value.response is not None
    document = json.loads(told.value.response.body)
    assert set(document["error"]) == {"code", "message", "hint"}, document
    return told.value.code, document["error"]


def test_every_allowed_row_stands_in_the_list_of_tests() -> None:
    tested = [(method, path.removeprefix("api/")) for method, path in EVERY_ROUTE if path.startswith("api/")]
    found = [routes.allowed(method, path) for method, path in tested]
    assert set(found) == set(ALLOWED)


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
async def test_nobody_asks_without_the_token(jp_fetch: Fetch, proxy: Scripted, method: str, path: str) -> None:
    asked = jp_fetch(
        "ultimate-proxy", path, method=method, body=body_of(method), headers={"Authorization": ""},
    )  # fmt: skip
    status, error = await refused(asked)
    assert (status, error["code"]) == (403, "forbidden")
    assert proxy.asked == []


@pytest.mark.parametrize(("method", "path"), [row for row in EVERY_ROUTE if row[0] != "GET"])
async def test_a_change_by_cookie_needs_the_xsrf_token(
    jp_fetch: Fetch, jp_serverapp: Any, proxy: Scripted, method: str, path: str
) -> None:
    """A browser that is signed in by cookie, led here by a foreign page."""
    token = jp_serverapp.identity_provider.token
    signed_in = await jp_fetch("tree", params={"token": token}, headers={"Authorization": ""}, raise_error=False,
                               follow_redirects=False)  # fmt: skip
    cookies = "; ".join(told.partition(";")[0] for told in signed_in.headers.get_list("Set-Cookie"))
    assert "username-" in cookies
    by_cookie = {"Authorization": "", "Cookie": cookies}
    good = await jp_fetch("ultimate-proxy", "state", headers={**by_cookie, "Sec-Fetch-Site": "same-origin"},
                          raise_error=False)  # fmt: skip
    assert good.code in {200, 403}, "reading is another matter"
    proxy.asked.clear()
    status, error = await refused(
        jp_fetch("ultimate-proxy", path, method=method, body=body_of(method), headers=by_cookie)
    )
    assert status == 403
    assert "xsrf" in error["message"]
    assert proxy.asked == []
    xsrf = next(told.partition("=")[2] for told in cookies.split("; ") if told.startswith("_xsrf"))
    passed = await jp_fetch("ultimate-proxy", path, method=method, body=body_of(method),
                            headers={**by_cookie, "X-XSRFToken": xsrf}, raise_error=False)  # fmt: skip
    assert passed.code != 403, "the same with the token passes"


# -- state ---------------------------------------------------------------------------------------------------------


async def state(fetch: Fetch) -> dict[str, Any]:
    told = json.loads((await fetch("ultimate-proxy", "state")).body)
    assert isinstance(told, dict)
    return told


async def test_a_proxy_that_runs(jp_fetch: Fetch, proxy: Scripted) -> None:
    told = await state(jp_fetch)
    assert told["state"] == "running"
    assert told["reachable"] is told["demo"] is True
    assert (told["url"], told["version"], told["hint"]) == (proxy.url, "0.1.0", "")
    assert told["user"] == {"user_name": "ada", "permissions": ["analytics:view"], "sees_all_calls": True}
    assert told["can_start"] is told["can_stop"] is False
    assert KEY not in json.dumps(told)
    assert proxy.asked[-1][2] == f"Bearer {KEY}"


async def test_no_proxy(jp_fetch: Fetch, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://127.0.0.1:{unused()}")
    told = await state(jp_fetch)
    assert (told["state"], told["reachable"], told["can_start"]) == ("unreachable", False, True)
    assert "ultimate-proxy up" in told["hint"]
    assert told["version"] is None


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        ("/api/version", {"version": "9.0", "api": 2}, "other_version"),
        ("/api/version", (404, {"error": {"code": "not_found", "message": "No.", "hint": ""}}), "other_version"),
        ("/api/version", (404, {"detail": "Not Found"}), "foreign"),
        ("/api/version", [], "foreign"),
        ("/api/auth/verify", (401, {"error": {"message": "This key is not known.", "hint": ""}}), "refused"),
        ("/api/auth/verify", (403, {"error": {"message": "Not here.", "hint": ""}}), "refused"),
        ("/api/auth/verify", (503, {"error": {"message": "The store is away.", "hint": ""}}), "slow"),
    ],
)
async def test_a_proxy_that_is_not_as_it_should_be(
    jp_fetch: Fetch, proxy: Scripted, path: str, answer: Any, expected: str
) -> None:
    proxy.answers[path] = answer
    told = await state(jp_fetch)
    assert told["state"] == expected
    assert told["message"]
    assert told["user"] is None


async def test_something_else_answers_there(jp_fetch: Fetch, proxy: Scripted) -> None:
    async def page(handler: RequestHandler) -> None:
        handler.finish("<h1>It works!</h1>")

    async def elsewhere(handler: RequestHandler) -> None:
        handler.redirect("http://192.0.2.1/")

    for answer in (page, elsewhere):
        proxy.answers["/api/version"] = answer
        assert (await state(jp_fetch))["state"] == "foreign"


async def test_no_key_is_said_and_nothing_is_sent(
    jp_fetch: Fetch, proxy: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAUDE_PROXY_API_KEY")
    told = await state(jp_fetch)
    assert told["state"] == "refused"
    assert "CLAUDE_PROXY_API_KEY" in told["hint"]
    assert [told[2] for told in proxy.asked] == [None]


async def test_configuration_that_cannot_be_read(jp_fetch: Fetch, jp_serverapp: Any, tmp_path: Path) -> None:
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "config.json").write_text("{")
    told = await state(jp_fetch)
    assert (told["state"], told["url"], told["can_start"]) == ("misconfigured", None, False)


def setting(folder: Path, text: str) -> None:
    path = folder / "lab" / "user-settings" / "@ultimate-proxy" / "jupyterlab" / "proxy.jupyterlab-settings"
    path.parent.mkdir(parents=True)
    path.write_text(text)


async def test_the_users_setting_may_name_another_port_of_this_computer(
    jp_fetch: Fetch, proxy: Scripted, jp_config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAUDE_PROXY_URL")
    monkeypatch.setenv("MY_KEY", "cp_another")
    setting(jp_config_dir, f'{{ // mine\n "proxyUrl": "{proxy.url}/v1", "apiKeyVariable": "MY_KEY" }}')
    assert (await state(jp_fetch))["url"] == proxy.url
    assert proxy.asked[-1][2] == "Bearer cp_another"


async def test_the_users_setting_may_not_send_the_key_to_another_computer(
    jp_fetch: Fetch, proxy: Scripted, jp_config_dir: Path
) -> None:
    setting(jp_config_dir, '{"proxyUrl": "http://proxy.example:8082"}')
    told = await state(jp_fetch)
    assert told["state"] == "misconfigured"
    assert "CLAUDE_PROXY_URL" in told["hint"]
    status, error = await refused(jp_fetch("ultimate-proxy", "api/providers"))
    assert (status, error["code"]) == (409, "address_not_configured")
    assert proxy.asked == []


# -- what passes -----------------------------------------------------------------------------------------------------


async def test_a_question_passes_with_the_servers_key(jp_fetch: Fetch, proxy: Scripted) -> None:
    proxy.answers["/api/analytics/aggregate"] = {"rows": [{"cost_usd": None}]}
    told = await jp_fetch(
        "ultimate-proxy", "api/analytics/aggregate",
        params=[("metrics", "requests,cost_usd"), ("filter", "model:a"), ("filter", "model:b"), ("1764000000", "")],
    )  # fmt: skip
    assert json.loads(told.body) == {"rows": [{"cost_usd": None}]}
    assert told.headers["Cache-Control"] == "no-store"
    (method, uri, key, _) = proxy.asked[-1]
    assert (method, key) == ("GET", f"Bearer {KEY}")
    assert uri == "/api/analytics/aggregate?metrics=requests%2Ccost_usd&filter=model%3Aa&filter=model%3Ab"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "api/keys", 404),
        ("GET", "api/system/status", 404),
        ("GET", "api/", 404),
        ("GET", "api/../v1/models", 404),
        ("GET", "api/calls/..", 404),
        ("GET", "api/calls/a/b", 404),
        ("GET", "api/providers/openai/key", 405),
        ("PUT", "api/providers", 405),
        ("PUT", "api/providers/../key", 404),
        ("DELETE", "api/calls/01hx", 405),
        ("GET", "api/analytics/aggregate%3Fx", 404),
    ],
)
async def test_nothing_else_passes(jp_fetch: Fetch, proxy: Scripted, method: str, path: str, status: int) -> None:
    told, _ = await refused(jp_fetch("ultimate-proxy", path, method=method, body=body_of(method)))
    assert told == status
    assert proxy.asked == []


async def test_a_name_that_is_not_known_does_not_pass(jp_fetch: Fetch, proxy: Scripted) -> None:
    status, error = await refused(jp_fetch("ultimate-proxy", "api/providers", params={"url": "http://192.0.2.1"}))
    assert (status, error["code"]) == (400, "parameter")
    assert proxy.asked == []


async def test_the_proxys_own_errors_come_through(jp_fetch: Fetch, proxy: Scripted) -> None:
    told = {"error": {"code": "span", "message": "The span is empty.", "hint": "Give a start before the end."}}
    proxy.answers["/api/analytics/calls"] = (400, told)
    status, error = await refused(jp_fetch("ultimate-proxy", "api/analytics/calls"))
    assert (status, error) == (400, told["error"])


async def test_bad_json_is_a_bad_gateway(jp_fetch: Fetch, proxy: Scripted) -> None:
    async def broken(handler: RequestHandler) -> None:
        handler.set_header("Content-Type", "application/json")
        handler.finish('{"rows": [')

    proxy.answers["/api/providers"] = broken
    status, error = await refused(jp_fetch("ultimate-proxy", "api/providers"))
    assert (status, error["code"]) == (502, "not_json")


async def test_nobody_there_is_a_bad_gateway(
    jp_fetch: Fetch, proxy: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://127.0.0.1:{unused()}")
    for path in ("api/providers", "api/live"):
        status, error = await refused(jp_fetch("ultimate-proxy", path))
        assert (status, error["code"]) == (502, "unreachable")
        assert "ultimate-proxy up" in error["hint"]


async def test_a_slow_proxy_is_a_gateway_timeout(
    jp_fetch: Fetch, jp_serverapp: Any, proxy: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared(jp_serverapp).upstream, "_answer_s", 0.2)

    async def late(_: RequestHandler) -> None:
        await asyncio.sleep(1)

    proxy.answers["/api/providers"] = proxy.answers["/api/version"] = late
    status, error = await refused(jp_fetch("ultimate-proxy", "api/providers"))
    assert (status, error["code"]) == (504, "slow")
    assert (await state(jp_fetch))["state"] == "slow"


# -- keys of providers -----------------------------------------------------------------------------------------------


async def test_a_providers_key_is_set_and_removed(jp_fetch: Fetch, proxy: Scripted) -> None:
    proxy.answers["/api/providers/openai/key"] = {"name": "openai", "has_key": True}
    put = await jp_fetch("ultimate-proxy", "api/providers/openai/key", method="PUT", body='{"key": "sk-secret"}')
    assert json.loads(put.body)["has_key"] is True
    assert proxy.asked[-1] == ("PUT", "/api/providers/openai/key", f"Bearer {KEY}", b'{"key": "sk-secret"}')
    await jp_fetch("ultimate-proxy", "api/providers/openai/key", method="DELETE")
    assert proxy.asked[-1][0] == "DELETE"


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("{", 400), ("[]", 400), ('{"key": ""}', 400), ('{"key": 1}', 400), ('{"key": "a", "url": "b"}', 400),
     (json.dumps({"key": "a" * 9000}), 413)],
)  # fmt: skip
async def test_a_body_that_is_no_key_does_not_pass(jp_fetch: Fetch, proxy: Scripted, body: str, status: int) -> None:
    asked = jp_fetch("ultimate-proxy", "api/providers/openai/key", method="PUT", body=body)
    told, _ = await refused(asked)
    assert told == status
    assert proxy.asked == []


def shared(app: Any) -> routes.Shared:
    """What the routes of a running server share."""
    found = app.web_app.settings["ultimate_proxy"]
    assert isinstance(found, routes.Shared)
    return found


def unused() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_looking_keeps_no_idle_server_awake() -> None:
    assert routes.StateHandler._track_activity is routes.PassHandler._track_activity is False


async def test_a_server_without_the_client_starts_and_says_so(
    jp_fetch: Fetch, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "claude_proxy", None)
    told = await state(jp_fetch)
    assert told["state"] == "misconfigured"
    assert "Install ultimate-proxy" in told["hint"]
    assert isinstance(Upstream(), Upstream)
    assert os.environ.get("CLAUDE_PROXY_URL") is None

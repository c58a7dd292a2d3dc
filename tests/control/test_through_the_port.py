"""Control behind real gateways: one port for people and clients, counters over kills, no request lost on a reload."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import Running, start_proxy, wait_until


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("port")) as running:
        yield running


class Signed(NamedTuple):
    """What using the printed link up was answered with."""

    link: str
    status: int
    place: str
    cookie: str


@pytest.fixture(scope="module")
def signed(proxy: Running) -> Signed:
    wait_until(lambda: ask(proxy, "/readyz")[0] == 200, 30, proxy)
    found = re.search(r"(/login\?link=\S+)", proxy.said)
    assert found is not None
    status, headers, _ = ask(proxy, found[1])
    return Signed(found[1], status, headers["Location"], headers["Set-Cookie"].partition(";")[0])


def ask(proxy: Running, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    told = answer.status, answer.headers, answer.read().decode()
    connection.close()
    return told


def requests(proxy: Running) -> int:
    """Return how many calls anybody has made, as the REST interface tells it."""
    return int(proxy.get("/api/analytics/aggregate")["rows"][0]["requests"])


def call(proxy: Running, number: int = 1) -> None:
    """Make model calls with the demo provider."""
    body = {"model": "demo/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(number):
        request = urllib.request.Request(
            f"{proxy.url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["choices"]


def counted(proxy: Running) -> float:
    status, _, text = ask(proxy, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return sum(sample.value for sample in families["ultimate_calls"].samples)


def test_ready_after_a_start_and_signed_in_by_the_printed_link(proxy: Running, signed: Signed) -> None:
    assert (signed.status, signed.place) == (303, "/")
    before = requests(proxy)
    call(proxy, 2)
    cookie = signed.cookie
    wait_until(lambda: requests(proxy) >= before + 2, 10, proxy)
    shown = f'Requests</dt><dd class="value">{requests(proxy)}<'
    wait_until(lambda: shown in ask(proxy, "/", Cookie=cookie)[2], 10, proxy)
    _, _, page = ask(proxy, "/", Cookie=cookie)
    assert f"{proxy.url}/v1" in page
    assert "gpt-4o-mini" in page
    assert ask(proxy, signed.link)[0] == 403, "a link works once"


def test_a_websocket_is_opened_by_pages_of_this_port_alone(proxy: Running, signed: Signed) -> None:
    """Through the gateway's tunnel, with the cookie that a browser would bring along from any page."""
    cookie = signed.cookie
    place = urlsplit(proxy.url)

    def opened(**more: str) -> int:
        token = json.loads(ask(proxy, "/dashboards/overview/session", Cookie=cookie)[2])["token"]
        told = {
            "Host": place.netloc, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": f"bokeh, {token}",
            "Cookie": cookie, **{name.replace("_", "-"): value for name, value in more.items()},
        }  # fmt: skip
        lines = [
            "GET /dashboards/overview/ws HTTP/1.1",
            *(f"{name}: {value}" for name, value in told.items()),
            "",
            "",
        ]
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as sock:
            sock.sendall("\r\n".join(lines).encode())
            with sock.makefile("rb") as file:
                return int(file.readline().split()[1])

    assert opened(Origin=proxy.url) == 101, "else this says nothing"
    evil = "http://evil.example"
    for origin in (evil, "null", f"https://{place.netloc}", f"{proxy.url}0", f"http://{place.netloc}.evil.example"):
        assert opened(Origin=origin) == 403, origin
    for claim in ({"X_Forwarded_Host": "evil.example"}, {"X_Original_Host": "evil.example"}, {"Referer": proxy.url}):
        assert opened(Origin=evil, **claim) == 403, claim
    assert opened(Origin=evil, Host="evil.example") == 400, "a name that was pointed at this computer"
    status, headers, _ = ask(proxy, "/api/live", "OPTIONS", Origin=evil)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, None), "no page elsewhere reads live events"


def test_what_a_client_says_about_itself_is_not_believed(proxy: Running) -> None:
    told = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "evil.example"}
    status, _, text = ask(proxy, "/api/auth/verify", Authorization=f"Bearer {proxy.key}", **told)
    assert status == 403, "a proxy that nobody declared may carry anyone: the local key is not for them"
    assert ask(proxy, "/metrics", **told)[0] == 401
    assert ask(proxy, "/metrics")[0] == 200
    status, _, text = ask(proxy, "/api/auth/verify", Authorization=f"Bearer {proxy.key}")
    assert (status, json.loads(text)["by"]) == (200, "key")
    _, _, document = ask(proxy, "/api/openapi.json", **told)
    assert json.loads(document)["servers"] == [{"url": proxy.url}]
    assert ask(proxy, "/api/openapi.json", Host="evil.example")[0] == 400


def test_counters_survive_a_killed_gateway_and_a_restart(tmp_path: Path) -> None:
    with start_proxy(tmp_path) as proxy:
        call(proxy, 3)
        wait_until(lambda: counted(proxy) == 3, 20, proxy)
        [old] = proxy.pids("gateway")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: _counted_or_none(proxy) == 3, 30, proxy)
        call(proxy, 2)
        proxy.stop()  # at once: the last word of the gateway tells of these two
    with start_proxy(tmp_path) as proxy:
        wait_until(lambda: counted(proxy) >= 5, 20, proxy)
        time.sleep(1.5)
        assert counted(proxy) == 5


def _counted_or_none(proxy: Running) -> float | None:
    try:
        return counted(proxy)
    except (OSError, http.client.HTTPException, AssertionError):
        return None


def test_a_killed_control_comes_back_with_all_it_knew(proxy: Running) -> None:
    before = counted(proxy)
    call(proxy, 2)
    wait_until(lambda: counted(proxy) == before + 2, 20, proxy)
    [old] = proxy.pids("control")
    os.kill(old, signal.SIGKILL)
    call(proxy)  # calls do not mind
    wait_until(lambda: _counted_or_none(proxy) == before + 3, 30, proxy)
    assert proxy.get("/api/auth/verify")["by"] == "key"


def test_no_request_to_pages_or_rest_is_lost_on_a_reload(proxy: Running) -> None:
    failed: list[str] = []
    asked = 0
    stop = threading.Event()
    guard = threading.Lock()
    parts = urlsplit(proxy.url)

    def ask_on(keep_alive: bool) -> None:
        nonlocal asked
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        while not stop.is_set():
            try:
                connection.request("GET", "/api/roles", headers={"Authorization": f"Bearer {proxy.key}"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failed.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))
                connection.close()
            with guard:
                asked += 1
            if not keep_alive:
                connection.close()
            time.sleep(0.005)
        connection.close()

    threads = [threading.Thread(target=ask_on, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.3)
        proxy.reload()
    stop.set()
    for thread in threads:
        thread.join()
    assert asked > 100
    assert failed == []

"""Live events through the gateway: a call is heard within a second of its end; a reload and a stop are told."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.control.listening import listen
from tests.harness import Running, start_proxy, wait_until
from tests.stopwatch import Stopwatch


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("live")) as running:
        wait_until(lambda: running.get("/api/auth/verify"), 20, running)
        yield running


def call(proxy: Running, key: str | None = None) -> tuple[str, float]:
    """Make a call and return its id and when its answer had come."""
    body = {"model": "demo/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {key or proxy.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{proxy.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
        return answer.headers["x-ultimate-call-id"], time.monotonic()


def test_a_call_is_heard_within_a_second_of_its_end(proxy: Running) -> None:
    call(proxy)  # the scripted provider starts
    with listen(proxy.url, proxy.key) as listener:
        late = []
        for _ in range(10):
            call_id, ended = call(proxy)
            listener.wait_for(call_id)
            heard = listener.heard[-1]
            assert (heard.event, heard.id) == ("call", call_id)
            assert heard.data["cost_nano_usd"] > 0
            late.append(heard.at - ended)
        print(
            f"\nlive latency through the gateway: {sorted(late)[5] * 1000:.0f} ms p50, {max(late) * 1000:.0f} ms max"
        )
        assert sorted(late)[-2] < 1.0  # a loaded machine may be late once
        assert listener.heard[-1].data == proxy.get(f"/api/calls/{listener.heard[-1].id}")["call"]


def test_each_hears_its_own(proxy: Running) -> None:
    made = urllib.request.Request(
        f"{proxy.url}/api/keys",
        json.dumps({"name": "x"}).encode(),
        {"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(made, timeout=30) as answer:
        key = json.load(answer)["key"]
    with (
        listen(proxy.url, proxy.key, "?filter=key:nobody") as nothing,
        listen(proxy.url, key) as all_of_the_user,
    ):
        ids = [call(proxy, key)[0], call(proxy)[0]]
        all_of_the_user.wait(2)
        assert all_of_the_user.ids() == ids
        assert nothing.ids() == []


def test_an_idle_listener_costs_next_to_nothing(proxy: Running) -> None:
    [gateway], [control] = proxy.pids("gateway"), proxy.pids("control")

    def used(seconds: float) -> dict[str, float]:
        before = {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in (gateway, control)}
        time.sleep(seconds)
        after = {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in (gateway, control)}
        return {
            name: 100 * (after[pid] - before[pid]) / seconds
            for name, pid in (("gateway", gateway), ("control", control))
        }

    with contextlib.ExitStack() as stack:
        stack.enter_context(listen(proxy.url, proxy.key))
        one = used(3)
        for _ in range(10):
            stack.enter_context(listen(proxy.url, proxy.key))
        eleven = used(3)
    print(f"\n% of a core: one listener {one}, eleven {eleven}")
    assert one["control"] < 3.0
    assert eleven["control"] - one["control"] < 2.0
    assert eleven["gateway"] < 2.0


def test_over_a_reload_nothing_is_missed(proxy: Running) -> None:
    ids = [call(proxy)[0]]
    with listen(proxy.url, proxy.key, f"?after={ids[0]}") as listener:
        ids.append(call(proxy)[0])
        listener.wait(1)
        proxy.reload()
        assert listener.ended.wait(20)
        assert listener.heard[-1].data["reason"] == "restart"
    ids.append(call(proxy)[0])
    with listen(proxy.url, proxy.key, Last_Event_ID=ids[1]) as listener:
        listener.wait_for(ids[2])
        ids.append(call(proxy)[0])
        listener.wait_for(ids[3])
        assert [one for one in listener.ids() if one in ids[2:]] == ids[2:]


def test_a_stop_waits_for_no_listener(tmp_path: Path) -> None:
    with start_proxy(tmp_path) as proxy, listen(proxy.url, proxy.key) as listener:
        assert listener.status == 200
        with Stopwatch() as took:
            assert proxy.stop() == 0
        assert took.seconds < 5
        assert listener.ended.wait(20)


def test_who_does_not_read_costs_the_gateway_no_memory(proxy: Running) -> None:
    call(proxy)
    [gateway], [control] = proxy.pids("gateway"), proxy.pids("control")
    with (
        listen(proxy.url, proxy.key, paused=True, buffer=4096),
        listen(proxy.url, proxy.key) as quick,
    ):
        before = psutil.Process(gateway).memory_info().rss
        ids = [call(proxy)[0] for _ in range(300)]
        for call_id in ids:
            quick.wait_for(call_id)
        grown = psutil.Process(gateway).memory_info().rss - before
        assert grown < 20_000_000, grown
        assert psutil.pid_exists(control)

"""A hard budget over reloads and a kill under load: what is told is what was spent, and never above the amount."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from tests.harness import Running, start_proxy, wait_until
from ultimate_lib import journal, records
from ultimate_lib.settings import load

BODY = json.dumps(
    {"model": "demo/claude-sonnet-4-5", "max_tokens": 400, "messages": [{"role": "user", "content": "Hello"}]}
).encode()


def ask(proxy: Running, method: str, path: str, told: Any = None) -> Any:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"}
    connection.request(method, path, None if told is None else json.dumps(told), headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    assert answer.status < 300, body
    return body


def state(proxy: Running) -> dict[str, Any]:
    (one,) = ask(proxy, "GET", "/api/budgets/status")["budgets"]
    return dict(one)


def call_on(proxy: Running, over: threading.Event, statuses: list[int], *, kept: bool) -> None:
    """Call again and again, over one connection or a new one each time, as a client that tries again would."""
    connection = None
    while not over.is_set():
        try:
            connection = connection or http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=30)
            connection.request(
                "POST", "/v1/messages", BODY, {"x-api-key": proxy.key, "content-type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            if not kept or answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException):
            statuses.append(0)
            connection = None
            time.sleep(0.05)
    if connection is not None:
        connection.close()


def test_a_budget_is_kept_over_reloads_and_a_kill(tmp_path: Path) -> None:
    with start_proxy(tmp_path, config="[record]\ncommit_interval_s = 1\n") as proxy:
        told = {"subject": "global", "amount": 10**10, "period": "total", "hard": True, "unpriced": "refuse"}
        ask(proxy, "POST", "/api/budgets", told)
        wait_until(lambda: state(proxy)["spent"] is not None, 5, proxy)
        time.sleep(2)
        over, statuses = threading.Event(), []
        threads = [
            threading.Thread(target=call_on, args=(proxy, over, statuses), kwargs={"kept": number % 2 == 0})
            for number in range(12)
        ]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(0.7)
            proxy.reload()
        time.sleep(0.7)
        (gateway,) = proxy.pids("gateway")[-1:]
        os.kill(gateway, signal.SIGKILL)
        proxy.wait_until_replaced("gateway", gateway)
        time.sleep(1)
        over.set()
        for thread in threads:
            thread.join()
        assert statuses.count(200) > 100
        assert set(statuses) <= {200, 429, 503, 0}
        time.sleep(2.5)
        known = sum(row.cost_nano_usd or 0 for row in rows(tmp_path, proxy))
        now = state(proxy)
        assert known <= now["spent"] + now["held"] <= now["amount"]
        charged = now["spent"] + now["held"] - known  # what the killed one held: at most one worst case a client
        assert charged <= 12 * 400 * 15_000 * 1.2
        time.sleep(3)  # the worker has summed and replayed
        later = state(proxy)
        assert later["spent"] + later["held"] == now["spent"] + now["held"]


def rows(folder: Path, proxy: Running) -> list[records.CallRecord]:
    """Return the call lines of all gateways."""
    journal_dir = load(environ={}, overrides={"data.folder": str(proxy.data_dir)}).journal_dir
    while True:
        try:
            lines = [
                line
                for owner in journal.writer_folders(journal_dir)
                for segment in journal.segments(owner)
                for line in journal.read_segment(segment.path).calls.split(b"\n")
                if line
            ]
        except FileNotFoundError:  # sealed, and so renamed, since it was listed
            continue
        return list({row.call_id: row for row in map(records.decode, lines)}.values())

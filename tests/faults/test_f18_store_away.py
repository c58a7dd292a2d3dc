"""F18: SQLite locked, read-only, deleted: calls go on, administration says 503, no change is made by half."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.harness import Running, start_proxy, wait_until
from ultimate_lib.access import keys, local
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.settings import load
from ultimate_lib.store import Store, audit

CALL = {"model": "demo/claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def ask(proxy: Running, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    """Send one request and return its status and JSON."""
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": f"Bearer {key or proxy.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(proxy.url + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@contextlib.contextmanager
def calling(proxy: Running) -> Iterator[list[int]]:
    """Call without pause until the block ends, and give the statuses."""
    statuses: list[int] = []
    over = threading.Event()

    def call_on() -> None:
        while not over.is_set():
            statuses.append(ask(proxy, "POST", "/v1/messages", CALL)[0])
            time.sleep(0.05)

    thread = threading.Thread(target=call_on)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the store's write lock."""
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


@contextlib.contextmanager
def deleted(path: Path) -> Iterator[None]:
    """Take the store's files away."""
    files = [
        file
        for file in path.parent.glob(f"{path.name}*")
        if file.name.removeprefix(path.name) in {"", "-wal", "-shm"}
    ]
    for file in files:
        file.rename(file.with_name(f"away-{file.name}"))
    try:
        yield
    finally:
        for file in files:
            file.with_name(f"away-{file.name}").rename(file)


def audit_rows(path: Path) -> int:
    store = Store(f"sqlite:///{path}")
    with store.begin() as connection:
        assert audit.broken_at(connection) is None
        number = audit.last(connection)
    store.close()
    return number


@pytest.mark.slow
@pytest.mark.parametrize("fault", [locked, deleted])
@pytest.mark.parametrize("seconds", [7.0, pytest.param(30.0, marks=pytest.mark.heavy)])
def test_f18_calls_go_on_and_administration_says_why_not(
    tmp_path: Path, fault: Callable[[Path], contextlib.AbstractContextManager[None]], seconds: float
) -> None:
    with start_proxy(tmp_path) as proxy:
        path = proxy.data_dir / "store.sqlite"
        assert ask(proxy, "POST", "/v1/messages", CALL)[0] == 200
        rows = audit_rows(path)
        with calling(proxy) as statuses:
            with fault(path):
                began = time.monotonic()
                refused = ask(proxy, "POST", "/api/keys", {"name": "lost"})
                assert (refused[0], refused[1]["error"]["code"]) == (503, "store_unavailable"), refused
                while time.monotonic() - began < seconds:
                    time.sleep(0.1)
            wait_until(lambda: ask(proxy, "POST", "/api/keys", {"name": "kept"})[0] == 201, 5.0, proxy)
        assert len(statuses) > seconds
        assert set(statuses) == {200}
        assert {key["name"] for key in ask(proxy, "GET", "/api/keys")[1]["keys"]} >= {"kept"}
        assert "lost" not in {key["name"] for key in ask(proxy, "GET", "/api/keys")[1]["keys"]}
        assert audit_rows(path) == rows + 1


def test_f18_a_read_only_store_serves_and_takes_no_change(tmp_path: Path) -> None:
    clock = SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    settings = load(environ={}, overrides={"data.folder": str(tmp_path / "data")})
    store = Store(settings.store_url)
    store.migrate()
    first = local.first_start(settings, store, clock)
    assert first.local_json is not None
    token = json.loads(first.local_json.read_text())["key"]
    acting = KeyCache(store, clock).lookup(token)
    assert acting is not None
    rows = audit_rows(tmp_path / "data" / "store.sqlite")
    read_only = Store(settings.store_url)
    sa.event.listen(read_only.engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only=ON"))
    assert KeyCache(read_only, clock).lookup(token) == acting
    for change in (
        lambda: keys.create_key(read_only, clock, acting, name="new"),
        lambda: keys.revoke_key(read_only, clock, acting, str(acting.key_id)),
    ):
        with pytest.raises(Unavailable, match="can be written"):
            change()
    assert audit_rows(tmp_path / "data" / "store.sqlite") == rows
    read_only.close()
    store.close()


def test_a_store_that_was_taken_away_is_never_made_anew_and_taken_up_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    with store.begin():
        pass
    with deleted(path):
        for _ in range(2):
            with pytest.raises(Unavailable, match="is gone"), store.begin():
                pass
        assert not path.exists()
    with store.begin() as connection:
        assert audit.last(connection) == 0
    store.close()

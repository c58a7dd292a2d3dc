"""F19: PostgreSQL stopped, restarted, its backends killed: back within five seconds, nothing written twice."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.faults.test_f18_store_away import CALL, ask, calling
from tests.harness import start_proxy, wait_until
from tests.stopwatch import Stopwatch
from tests.store.postgres import Postgres, server
from ultimate_lib.errors import Unavailable
from ultimate_lib.store import Store, audit, tables


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of this module, which stops it."""
    with server() as running:
        yield running


@pytest.mark.slow
def test_a_proxy_over_postgresql_from_key_to_refusal_and_f19(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database()
    with start_proxy(tmp_path, config=f'[data]\nstore_url = "{url}"\n') as proxy:
        status, made = ask(proxy, "POST", "/api/keys", {"name": "laptop"})
        assert status == 201
        assert ask(proxy, "POST", "/v1/messages", CALL, made["key"])[0] == 200
        usage = f"/api/keys/{made['about']['id']}/usage"
        wait_until(lambda: ask(proxy, "GET", usage)[1]["requests"] == 1, 10.0, proxy)
        used = ask(proxy, "GET", usage)[1]
        assert used["output_tokens"] > 0
        assert used["last_used_at"] is not None
        assert ask(proxy, "DELETE", f"/api/keys/{made['about']['id']}")[0] == 200
        wait_until(lambda: ask(proxy, "POST", "/v1/messages", CALL, made["key"])[0] == 401, 5.0, proxy)
        assert ask(proxy, "POST", "/v1/messages", CALL)[0] == 200  # this key is known from now on
        with calling(proxy) as statuses:
            postgres.stop()
            time.sleep(1)
            refused = ask(proxy, "POST", "/api/keys", {"name": "lost"})
            assert (refused[0], refused[1]["error"]["code"]) == (503, "store_unavailable")
            time.sleep(5)
            postgres.start()
            wait_until(lambda: ask(proxy, "POST", "/api/keys", {"name": "kept"})[0] == 201, 5.0, proxy)
            for pid in postgres.backends(url.rpartition("/")[2]):
                postgres.ask(f"SELECT pg_terminate_backend({pid})")
            wait_until(lambda: ask(proxy, "POST", "/api/keys", {"name": "again"})[0] == 201, 5.0, proxy)
        assert set(statuses) == {200}, "known keys go on"
        names = [key["name"] for key in ask(proxy, "GET", "/api/keys")[1]["keys"]]
        assert sorted(name for name in names if name in {"lost", "kept", "again"}) == ["again", "kept"]


@pytest.mark.parametrize("fault", ["backends", "crash"])
def test_f19_nothing_is_written_twice(postgres: Postgres, fault: str) -> None:
    """Each write is told as done or failed; one that failed may stand, no other is there, none twice."""
    url = postgres.database()
    store = Store(url)
    store.migrate()
    done: list[str] = []
    tried: list[str] = []
    over = threading.Event()

    def write_on(thread: int) -> None:
        for number in range(10_000):
            if over.is_set():
                return
            name = f"{thread}-{number}"
            tried.append(name)
            row = {"at": datetime.now(UTC), "actor": "ada", "action": "test", "object": name}
            try:
                with store.begin() as connection:
                    audit.append(connection, {**row, "before": None, "after": None, "address": None})
                done.append(name)
            except Unavailable:
                time.sleep(0.02)

    threads = [threading.Thread(target=write_on, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.4)
        if fault == "crash":
            postgres.stop(signal.SIGQUIT)
            postgres.start()
        else:
            for pid in postgres.backends(url.rpartition("/")[2]):
                postgres.ask(f"SELECT pg_terminate_backend({pid})")
        so_far = len(done)
        wait_until(lambda so_far=so_far: len(done) > so_far, 20.0)  # type: ignore[misc]
    over.set()
    for thread in threads:
        thread.join()
    with store.begin() as connection:
        written = list(connection.execute(sa.select(tables.audit.c.object)).scalars())
        assert audit.broken_at(connection) is None
    store.close()
    assert len(written) == len(set(written))
    assert set(done) <= set(written) <= set(tried)


def test_f19_a_dead_server_is_a_sentence_within_seconds(postgres: Postgres) -> None:
    url = postgres.database()
    store = Store(url)
    store.migrate()
    postgres.stop()
    with Stopwatch() as took, pytest.raises(Unavailable, match="cannot be reached"), store.begin():
        pass
    assert took.seconds < 3
    postgres.start()
    with store.begin() as connection:
        assert audit.last(connection) == 0
    store.close()

"""A client that goes away cancels its call at the provider within a second and leaves a row of status `cut`."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest

from tests.fakes.scripted import Connection, Scripted, chunk, head
from tests.gateway.gateways import KEYS, PATHS, PROVIDERS, Gateway, Raw, ask, start_gateway
from tests.gateway.test_pass_through import scripted_answer
from tests.harness import wait_until
from tests.stopwatch import Stopwatch

FIRST = {"anthropic": b"content_block_delta", "openai": b'"content":"The'}


def leave(client: Raw, how: str) -> None:
    if how == "reset":
        client.reset()
    else:
        client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_in_the_middle_of_a_stream(gateway: Gateway, upstream: Scripted, protocol: str, how: str) -> None:
    told = scripted_answer(protocol, streamed=True)
    third = told.split(b"\n\n")[:5]
    gone: queue.Queue[float | None] = queue.Queue()

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(b"\n\n".join(third) + b"\n\n"))
        gone.put(connection.left_within(5))

    upstream.script = script
    with gateway.one_row() as rows:
        client = gateway.open(PATHS[protocol], ask(protocol, stream=True))
        client.until(FIRST[protocol])
        with Stopwatch() as took:
            leave(client, how)
            assert gone.get(timeout=10) is not None
        assert took.seconds <= 1.0
    (row,) = rows
    assert (row.status, row.error_type, row.http_status) == ("cut", "client_left", 200)
    assert (row.usage_source, row.cost_source) == ("estimated", "estimated")
    assert row.output_tokens is not None
    assert row.output_tokens >= 1
    assert row.cost_nano_usd is not None
    assert row.cost_nano_usd > 0
    assert row.response_bytes == len(b"\n\n".join(third)) + 2
    assert row.ttft_ms is not None
    if protocol == "anthropic":
        assert row.input_tokens == 421, "message_start told it"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_before_the_provider_answers(
    gateway: Gateway, upstream: Scripted, protocol: str, how: str, streamed: bool
) -> None:
    asked = threading.Event()
    gone: queue.Queue[float | None] = queue.Queue()

    def script(connection: Connection) -> None:
        asked.set()
        gone.put(connection.left_within(5))

    upstream.script = script
    with gateway.one_row() as rows:
        client = gateway.open(PATHS[protocol], ask(protocol, stream=streamed))
        assert asked.wait(10)
        with Stopwatch() as took:
            leave(client, how)
            assert gone.get(timeout=10) is not None
        assert took.seconds <= 1.0
    (row,) = rows
    assert (row.status, row.http_status) == ("cut", None)
    assert (row.usage_source, row.output_tokens) == ("estimated", 0)
    assert row.input_tokens is not None
    assert row.input_tokens > 0


def test_in_the_middle_of_a_whole_answer(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    asked = threading.Event()
    gone: queue.Queue[float | None] = queue.Queue()

    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{")
        asked.set()
        gone.put(connection.left_within(5))

    upstream.script = script
    with gateway.one_row() as rows:
        client = gateway.open(PATHS[protocol], ask(protocol))
        assert asked.wait(10)
        client.close()
        assert gone.get(timeout=10) is not None
    assert rows[0].status == "cut"


def test_f13_many_leave_and_nothing_is_left_behind(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    """A sample of the full fault: 60 clients vanish; every call has its row, no socket stays open."""
    told = scripted_answer(protocol, streamed=True)
    waits: queue.Queue[float | None] = queue.Queue()

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told[:600]))
        waits.put(connection.left_within(5))

    upstream.script = script
    before, sockets = len(gateway.rows()), open_sockets(gateway.pid)
    for number in range(60):
        client = gateway.open(PATHS[protocol], ask(protocol, stream=True))
        client.until(b"HTTP/1.1 200")
        leave(client, ("close", "reset")[number % 2])
    left = [waits.get(timeout=10) for _ in range(60)]
    assert all(wait is not None and wait <= 1.0 for wait in left)
    wait_until(lambda: len(gateway.rows()) >= before + 60 and open_sockets(gateway.pid) <= sockets + 2, 10)
    rows = gateway.rows()[before:]
    assert len(rows) == 60
    assert {row.status for row in rows} == {"cut"}


def test_f13_mutant_a_call_that_is_not_cancelled_is_seen(tmp_path: Path, upstream: Scripted) -> None:
    told = scripted_answer("openai", streamed=True)
    waits: queue.Queue[float | None] = queue.Queue()

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told[:600]))
        waits.put(connection.left_within(2))
        connection.close()

    upstream.script = script
    with start_gateway(tmp_path, PROVIDERS.format(url=upstream.url), {**KEYS, "MUTANT": "no_cancel"}) as gateway:
        client = gateway.open(PATHS["openai"], ask("openai", stream=True))
        client.until(b"HTTP/1.1 200")
        client.close()
        assert waits.get(timeout=10) is None


def open_sockets(pid: int) -> int:
    import psutil

    return len([c for c in psutil.Process(pid).net_connections("tcp") if c.status != psutil.CONN_LISTEN])

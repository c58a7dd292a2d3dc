"""A provider that fails: the client is told in its own protocol, the row says `error` and why."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.fakes.scripted import Connection, Scripted, answer, chunk, head
from tests.gateway.gateways import ANTHROPIC, KEYS, OPENAI, PATHS, PROVIDERS, Gateway, ask, start_gateway
from tests.gateway.test_pass_through import scripted_answer
from tests.stopwatch import Stopwatch

TIMEOUTS = "[limits]\nconnect_s = 1\nfirst_byte_s = 1.0\nidle_s = 1.0\ntotal_s = 60\n"
TOTAL = "[limits]\ntotal_s = 1\n"


def error_of(protocol: str, body: bytes) -> dict[str, object]:
    told = json.loads(body)
    assert set(told) == ({"type", "error", "request_id"} if protocol == "anthropic" else {"error"})
    error: dict[str, object] = told["error"]
    return error


def unchunked(answer: bytes) -> bytes:
    """Return the body of a chunked answer."""
    body, rest = b"", answer.partition(b"\r\n\r\n")[2]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def last_event(body: bytes) -> bytes:
    return body.rstrip(b"\n").split(b"\n\n")[-1]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, upstream: Scripted) -> object:
    with start_gateway(tmp_path_factory.mktemp("i"), PROVIDERS.format(url=upstream.url) + TIMEOUTS, KEYS) as running:
        yield running


def test_a_provider_that_refuses_connections(tmp_path: Path, protocol: str) -> None:
    with socket.socket() as taken, contextlib.ExitStack() as stack:
        taken.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        gateway = stack.enter_context(start_gateway(tmp_path, PROVIDERS.format(url=url), KEYS))
        for streamed in (False, True):
            got = gateway.post(PATHS[protocol], ask(protocol, stream=streamed))
            assert got.status == 502
            assert "cannot be reached" in str(error_of(protocol, got.body)["message"])
            row = gateway.row(got.headers["x-ultimate-call-id"])
            assert (row.status, row.http_status, row.error_type) == ("error", 502, "connect")
            assert (row.cost_nano_usd, row.usage_source, row.input_tokens) == (None, "none", None)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_provider_that_drops_the_connection(
    gateway: Gateway, upstream: Scripted, protocol: str, streamed: bool
) -> None:
    upstream.script = Connection.reset
    got = gateway.post(PATHS[protocol], ask(protocol, stream=streamed))
    assert got.status == 502
    error_of(protocol, got.body)
    assert gateway.row(got.headers["x-ultimate-call-id"]).error_type == "broken_off"


def test_a_whole_answer_that_breaks_off(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
        connection.close()

    upstream.script = script
    got = gateway.post(PATHS[protocol], ask(protocol))
    assert got.status == 502
    assert gateway.row(got.headers["x-ultimate-call-id"]).error_type == "broken_off"


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_stream_that_breaks_off_ends_in_an_error_event(
    gateway: Gateway, upstream: Scripted, protocol: str, end: str
) -> None:
    told = scripted_answer(protocol, streamed=True)
    half = told[: len(told) // 2]
    whole_events = half[: half.rindex(b"\n\n") + 2]
    come = threading.Event()

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(half))
        assert come.wait(10)
        getattr(connection, end)()

    upstream.script = script
    with gateway.one_row() as rows:
        client = gateway.open(PATHS[protocol], ask(protocol, stream=True))
        assert client.until(whole_events.split(b"\n\n")[-2]).startswith(b"HTTP/1.1 200")
        come.set()
        body = unchunked(client.rest())
    assert body.startswith(whole_events), "what had come whole is passed on"
    event = body[len(whole_events) :]
    if protocol == "anthropic":
        assert event.startswith(b"event: error\ndata: ")
        assert b"message_stop" not in body
    else:
        assert event.startswith(b'data: {"error"')
        assert b"[DONE]" not in body
    (row,) = rows
    assert (row.status, row.error_type, row.http_status) == ("error", "broken_off", 200)
    assert (row.usage_source, row.cost_source) == ("estimated", "estimated")


def test_an_error_event_after_half_a_huge_event_stands_by_itself(gateway: Gateway, upstream: Scripted) -> None:
    def script(connection: Connection) -> None:
        connection.send(head() + chunk(b"data: " + b"x" * 3_000_000))
        connection.close()

    upstream.script = script
    got = gateway.post(OPENAI, ask("openai", stream=True))
    assert last_event(got.body).startswith(b'data: {"error"')


def test_a_compressed_stream_that_breaks_off_is_broken_off(gateway: Gateway, upstream: Scripted) -> None:
    import gzip

    come = threading.Event()

    def script(connection: Connection) -> None:
        connection.send(head(200, "text/event-stream", "content-encoding: gzip") + chunk(gzip.compress(b"x")[:9]))
        assert come.wait(10)
        connection.close()

    upstream.script = script
    with gateway.one_row() as rows:
        client = gateway.open(OPENAI, ask("openai", stream=True))
        client.until(b"HTTP/1.1 200")
        come.set()
        assert not client.rest().endswith(b"0\r\n\r\n"), "the client must not take it for whole"
    assert rows[0].error_type == "broken_off"


def test_the_providers_own_error_event_passes_and_is_recorded(
    gateway: Gateway, upstream: Scripted, protocol: str
) -> None:
    told = scripted_answer(protocol, streamed=True)
    half = told[: told.index(b"\n\n", len(told) // 2) + 2]
    event = {
        "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Busy"}}\n\n',
        "openai": b'data: {"error":{"message":"Busy","type":"overloaded_error","code":null}}\n\n',
    }[protocol]

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(half) + chunk(event) + b"0\r\n\r\n")

    upstream.script = script
    got = gateway.post(PATHS[protocol], ask(protocol, stream=True))
    assert got.body == half + event
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.error_type) == ("error", "overloaded_error")
    assert row.usage_source == "estimated"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_provider_that_never_answers(impatient: Gateway, upstream: Scripted, protocol: str, streamed: bool) -> None:
    def script(connection: Connection) -> None:
        connection.left_within(10)

    upstream.script = script
    with Stopwatch() as took:
        got = impatient.post(PATHS[protocol], ask(protocol, stream=streamed))
    assert took.seconds < 3
    assert got.status == 504
    error = error_of(protocol, got.body)
    assert "sent nothing for 1 s" in str(error["message"])
    row = impatient.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.http_status, row.error_type) == ("error", 504, "first_byte_timeout")
    assert (row.usage_source, row.output_tokens) == ("estimated", 0), "it may have been billed"
    assert row.overhead_ms is not None
    assert row.overhead_ms < 500


def test_a_stream_that_stalls(impatient: Gateway, upstream: Scripted, protocol: str) -> None:
    told = scripted_answer(protocol, streamed=True)

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told[: told.index(b"\n\n", 700) + 2]))
        connection.left_within(10)

    upstream.script = script
    got = impatient.post(PATHS[protocol], ask(protocol, stream=True))
    assert b"fell silent for 1 s" in last_event(got.body)
    row = impatient.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.error_type) == ("error", "idle_timeout")
    assert row.upstream_ms is not None
    assert row.upstream_ms >= 900


def test_a_stream_that_stays_open_after_its_end_is_ended(
    impatient: Gateway, upstream: Scripted, protocol: str
) -> None:
    told = scripted_answer(protocol, streamed=True)

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told))
        connection.left_within(10)

    upstream.script = script
    asked = {"stream_options": {"include_usage": True}} if protocol == "openai" else {}
    got = impatient.post(PATHS[protocol], ask(protocol, stream=True, **asked))
    assert got.body == told
    assert impatient.row(got.headers["x-ultimate-call-id"]).status == "ok"


def test_a_stream_that_never_ends(tmp_path: Path, upstream: Scripted) -> None:
    def script(connection: Connection) -> None:
        connection.send(head())
        for _ in range(100):
            connection.send(chunk(b'data: {"choices":[{"index":0,"delta":{"content":"more"}}]}\n\n'))
            time.sleep(0.1)

    upstream.script = script
    with start_gateway(tmp_path, PROVIDERS.format(url=upstream.url) + TOTAL, KEYS) as hurried:
        got = hurried.post(OPENAI, ask("openai", stream=True))
        assert b"took longer than 1 s" in last_event(got.body)
        assert hurried.row(got.headers["x-ultimate-call-id"]).error_type == "total_timeout"


def test_a_slow_reader_is_not_the_providers_fault(impatient: Gateway, upstream: Scripted) -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 60_000 + b'"}}]}\n\n'

    def script(connection: Connection) -> None:
        connection.send(head())
        for _ in range(400):
            connection.send(chunk(event))
        connection.send(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    upstream.script = script
    with impatient.one_row(5) as rows:
        client = impatient.open(OPENAI, ask("openai", stream=True))
        client.until(b"HTTP/1.1 200")
        time.sleep(2.2)  # longer than idle_s, shorter than total_s
        assert client.rest().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert rows[0].status == "ok"
    assert rows[0].overhead_ms is not None
    assert rows[0].overhead_ms < 1500, "waiting for the client is not our overhead"


def test_a_redirect_is_not_followed(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    upstream.script = answer(b"", 307, "location: http://evil.example/v1/messages")
    got = gateway.post(PATHS[protocol], ask(protocol))
    assert got.status == 502
    assert "location" not in got.headers
    assert "redirect" in str(error_of(protocol, got.body)["message"])


def test_a_loop_is_a_508(tmp_path: Path, upstream: Scripted) -> None:
    """Two calls through ourselves: the inner one sees our own mark before it looks at any key."""
    with start_gateway(tmp_path, PROVIDERS.format(url=upstream.url), KEYS) as gateway:
        upstream.script = answer(scripted_answer("anthropic", streamed=False))
        gateway.post(ANTHROPIC, ask("anthropic"))
        via = upstream.requests[-1].header("via")
        assert via is not None
        got = gateway.post(ANTHROPIC, ask("anthropic"), {"via": f"1.1 other, {via}", "x-api-key": "sk-ant-provider"})
        assert got.status == 508
        assert "base_url" in got.json["error"]["message"]
        got = gateway.post(ANTHROPIC, ask("anthropic"), {"via": "1.1 ultimate-somebody-else"})
        assert got.status == 200
        assert upstream.requests[-1].header("via") == f"1.1 ultimate-somebody-else, {via}"

"""The call line stands in the journal before the client can know that its call has ended."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.fakes.scripted import Connection, Scripted, answer, chunk, head, stream
from tests.gateway.gateways import KEYS, OPENAI, PATHS, PROVIDERS, Gateway, ask, start_gateway
from tests.gateway.test_pass_through import scripted_answer
from tests.harness import wait_until
from ultimate_lib import journal

TERMINAL = {"anthropic": b"event: message_stop", "openai": b"data: [DONE]"}


def rows_at(gateway: Gateway, protocol: str, mark: bytes, *, streamed: bool) -> int:
    """Return how many call lines stand in the journal at the moment `mark` has reached the client."""
    before = len(gateway.rows())
    client = gateway.open(PATHS[protocol], ask(protocol, stream=streamed))
    client.until(mark)
    rows = len(gateway.rows()) - before
    client.close()
    return rows


def test_the_row_is_there_when_the_terminal_event_is(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    told = scripted_answer(protocol, streamed=True)
    start = told.index(TERMINAL[protocol])

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told[:start]))
        for at in range(start, len(told)):  # byte by byte: not one of them may get ahead of the row
            connection.send(chunk(told[at : at + 1]))
        assert connection.left_within(5) is not None  # the stream is left open: the row may not wait for its end

    upstream.script = script
    assert rows_at(gateway, protocol, TERMINAL[protocol][:8] + TERMINAL[protocol][8:], streamed=True) == 1


def test_no_row_stands_before_the_terminal_event(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    told = scripted_answer(protocol, streamed=True)
    start = told.index(TERMINAL[protocol])
    go_on = threading.Event()

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told[:start]) + chunk(told[start : start + 9]))
        go_on.wait(5)
        connection.send(chunk(told[start + 9 :]) + b"0\r\n\r\n")

    upstream.script = script
    with gateway.one_row() as rows:
        before = len(gateway.rows())
        client = gateway.open(PATHS[protocol], ask(protocol, stream=True))
        client.until(b"finish_reason" if protocol == "openai" else b"message_delta")
        assert len(gateway.rows()) == before
        assert TERMINAL[protocol] not in client.seen
        go_on.set()
        client.rest()
    assert rows[0].status == "ok"


def test_the_row_is_there_when_a_whole_answer_is(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    upstream.script = answer(scripted_answer(protocol, streamed=False))
    assert rows_at(gateway, protocol, b"HTTP/1.1 200", streamed=False) == 1


def test_a_client_that_closes_after_the_terminal_event_has_had_its_answer(
    gateway: Gateway, upstream: Scripted, protocol: str
) -> None:
    told = scripted_answer(protocol, streamed=True)
    left: list[float | None] = []

    def script(connection: Connection) -> None:
        connection.send(head() + chunk(told))
        left.append(connection.left_within(5))

    upstream.script = script
    with gateway.one_row() as rows:
        client = gateway.open(PATHS[protocol], ask(protocol, stream=True))
        client.until(TERMINAL[protocol])
        client.reset()
    assert (rows[0].status, rows[0].usage_source) == ("ok", "provider")
    wait_until(lambda: left, 10)
    assert left[0] is not None, "the provider is not kept busy for nobody"


def test_a_stream_without_terminal_event_is_ok_once_it_gave_its_reason(gateway: Gateway, upstream: Scripted) -> None:
    told = scripted_answer("openai", streamed=True).replace(b"data: [DONE]\n\n", b"")
    upstream.script = stream([told])
    got = gateway.post(OPENAI, ask("openai", stream=True, stream_options={"include_usage": True}))
    assert got.body == told
    assert gateway.row(got.headers["x-ultimate-call-id"]).status == "ok"
    cut = told[: told.index(b'"finish_reason":"stop"') - 30]
    upstream.script = stream([cut])
    got = gateway.post(OPENAI, ask("openai", stream=True, stream_options={"include_usage": True}))
    assert got.body == cut
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.error_type, row.usage_source) == ("error", "stream_incomplete", "estimated")
    assert row.output_tokens is not None
    assert row.output_tokens > 0


def test_with_sync_commit_the_end_waits_for_the_disk(tmp_path: Path, upstream: Scripted, protocol: str) -> None:
    config = PROVIDERS.format(url=upstream.url) + '[record]\nsync = "commit"\n'
    with start_gateway(tmp_path, config, KEYS) as gateway:
        for streamed in (False, True):
            told = scripted_answer(protocol, streamed=streamed)
            upstream.script = stream([told]) if streamed else answer(told)
            got = gateway.post(PATHS[protocol], ask(protocol, stream=streamed))
            assert got.status == 200
            assert gateway.row(got.headers["x-ultimate-call-id"]).status == "ok"


def test_an_intent_stands_before_the_provider_is_asked(gateway: Gateway, upstream: Scripted) -> None:
    seen: list[dict[str, object]] = []

    def script(connection: Connection) -> None:
        for owner in journal.writer_folders(gateway.folder / "journal"):
            for segment in journal.segments(owner):
                seen.extend(json.loads(line) for line in journal.read_segment(segment.path).intents)
        answer(scripted_answer("openai", streamed=False))(connection)

    upstream.script = script
    got = gateway.post(OPENAI, ask("openai"))
    intent = next(line for line in seen if line["call_id"] == got.headers["x-ultimate-call-id"])
    assert intent["model_routed"] == "gpt-4o-mini"
    assert intent["usage_source"] == "estimated"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_call_loads_no_data_frame_library(gateway: Gateway) -> None:
    maps = Path(f"/proc/{gateway.pid}/maps").read_text(encoding="utf-8")
    assert not [name for name in ("polars", "pyarrow", "deltalake", "pandas") if f"/{name}/" in maps]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_mutant_a_row_that_comes_late_is_seen(
    tmp_path: Path, upstream: Scripted, protocol: str, streamed: bool
) -> None:
    told = scripted_answer(protocol, streamed=streamed)
    upstream.script = stream([told]) if streamed else answer(told)
    with start_gateway(tmp_path, PROVIDERS.format(url=upstream.url), {**KEYS, "MUTANT": "late_row"}) as gateway:
        assert rows_at(gateway, protocol, TERMINAL[protocol] if streamed else b"HTTP/1.1 200", streamed=streamed) == 0

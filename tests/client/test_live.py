"""Live calls: pieces of events, lost connections, what may be missing, what comes twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from claude_proxy import Answer, ClaudeProxyClient, NotAllowed, ProxyError, Unreachable
from claude_proxy.client.sse import Event, Reader
from tests.client.fake import Fake, dropped, refusal, told
from tests.fakes.scripted import Connection, chunk, head, stream

LIVE = "GET /api/live"


def event(number: int, kind: str = "call") -> bytes:
    return f"event: {kind}\nid: c{number}\ndata: {json.dumps({'call_id': f'c{number}'})}\n\n".encode()


def taken(calls: Iterator[Answer], number: int) -> list[str]:
    return [next(calls)["call_id"] for _ in range(number)]


def cut(*pieces: bytes, heard: threading.Event | None = None) -> object:
    """Send these chunks and break the connection off: with a reset once they were heard, else by closing it."""

    def script(connection: Connection) -> None:
        connection.send(head() + b"".join(map(chunk, pieces)))
        if heard is None:
            connection.close()
            return
        assert heard.wait(10)  # a reset takes what was not read away with it
        connection.reset()

    return script


def open_ended(*pieces: bytes) -> object:
    """Send these chunks and keep the connection until the client leaves."""

    def script(connection: Connection) -> None:
        connection.send(head() + b"".join(map(chunk, pieces)))
        connection.left_within(10.0)
        connection.close()

    return script


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_whole_however_they_are_cut(newline: bytes, size: int) -> None:
    text = (
        "\ufeff: keep\nretry: 70\nevent: call\nid: 7\ndata: {\ndata:  é}\n\ndata: x\n\nid: 8\n\nevent: y\n\n".encode()
    )
    sent = text.replace(b"\n", newline)
    reader = Reader()
    events = [one for at in range(0, len(sent), size) for one in reader.feed(sent[at : at + size])]
    events += reader.feed(b": end" + newline)  # a last \r is the end of its line once something else follows
    assert events == [Event("call", "{\n é}", "7"), Event("message", "x", "7")]
    assert (reader.last_id, reader.retry_ms) == ("8", 70)


def test_calls_come_as_they_end(fake: Fake, client: ClaudeProxyClient) -> None:
    first_came = threading.Event()
    in_time: list[bool] = []

    def slowly(connection: Connection) -> None:
        connection.send(head() + chunk(b": keep\n\n") + chunk(event(1)))
        in_time.append(first_came.wait(10.0))
        connection.send(chunk(event(2)))
        connection.left_within(5.0)
        connection.close()

    fake.on(LIVE, slowly)
    calls = client.live(filter="project:search")
    assert next(calls).call_id == "c1"
    first_came.set()
    assert next(calls).call_id == "c2"
    assert in_time == [True], "the first does not wait for the second"
    calls.close()  # type: ignore[attr-defined] # a generator
    assert fake.asked[-1].path == "/api/live?filter=project%3Asearch"


def test_a_lost_connection_goes_on_after_the_last_call_and_none_comes_twice(
    fake: Fake, client: ClaudeProxyClient
) -> None:
    half = event(3)[:20]  # told anew after the cut
    heard = threading.Event()
    last = open_ended(event(2), event(3), event(4))
    scripts = [cut(event(1), event(2), half, heard=heard), dropped, refusal(503), last]
    fake.on(LIVE, *scripts)  # type: ignore[arg-type] # they are scripts
    calls = client.live()
    assert taken(calls, 2) == ["c1", "c2"]
    heard.set()
    assert taken(calls, 2) == ["c3", "c4"]
    assert [one.header("last-event-id") for one in fake.asked_for(LIVE)] == [None, "c2", "c2", "c2"]
    calls.close()  # type: ignore[attr-defined] # a generator


def test_a_stream_that_ends_is_opened_again(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on(LIVE, stream([event(1)]), stream([b'event: end\ndata: {"reason": "slow"}\n\n']), open_ended(event(2)))  # type: ignore[arg-type] # they are scripts
    calls = client.live()
    assert taken(calls, 2) == ["c1", "c2"]
    calls.close()  # type: ignore[attr-defined] # a generator


def test_where_calls_may_be_missing_is_said(fake: Fake, client: ClaudeProxyClient) -> None:
    gap = b'event: gap\ndata: {"message": "gone"}\n\n'
    fake.on(LIVE, cut(b": keep\n\n"), cut(event(1)), open_ended(gap + event(5)))  # type: ignore[arg-type] # scripts
    said: list[str] = []
    calls = client.live(on_gap=said.append)
    assert taken(calls, 1) == ["c1"]
    assert len(said) == 1, "the first connection was lost before any call told where to go on"
    assert "before the first call" in said[0]
    assert taken(calls, 1) == ["c5"]
    assert len(said) == 2
    calls.close()  # type: ignore[attr-defined] # a generator


def test_a_key_that_ends_ends_the_calls(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on(LIVE, stream([event(1)]), refusal(401))
    calls = client.live()
    assert taken(calls, 1) == ["c1"]
    with pytest.raises(NotAllowed):
        next(calls)


def test_a_proxy_that_stays_away_is_given_up(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on(LIVE, stream([event(1)]), dropped)
    calls = client.live(patience_s=0.8)
    assert taken(calls, 1) == ["c1"]
    began = time.monotonic()
    with pytest.raises(Unreachable):
        next(calls)
    assert 0.8 < time.monotonic() - began < 10.0


@pytest.mark.parametrize("script", [refusal(503), refusal(404), told({"calls": []})])
def test_a_first_connection_that_does_not_come_about_is_an_error_at_once(
    fake: Fake, client: ClaudeProxyClient, script: object
) -> None:
    fake.on(LIVE, script)  # type: ignore[arg-type] # they are scripts
    with pytest.raises(ProxyError):
        next(client.live())
    assert len(fake.asked_for(LIVE)) == 1

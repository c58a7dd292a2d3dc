"""Live calls through JupyterLab's server: as they come, not at all, silent, left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from tests.extension.conftest import KEY, Scripted
from tests.extension.test_routes import Fetch, refused, shared


def events(*pieces: str, end: asyncio.Event | None = None) -> Callable[[RequestHandler], Awaitable[None]]:
    async def answer(handler: RequestHandler) -> None:
        handler.set_header("Content-Type", "text/event-stream")
        for piece in pieces:
            handler.write(piece)
            await handler.flush()
            await asyncio.sleep(0.01)
        if end is not None:
            await end.wait()
        handler.finish()

    return answer


async def test_events_pass_as_they_come(jp_fetch: Fetch, proxy: Scripted) -> None:
    end, heard = asyncio.Event(), bytearray()
    proxy.answers["/api/live"] = events(": keep\n\n", 'event: call\nid: 7\ndata: {"call_id": "7"}\n\n', end=end)

    def chunk(data: bytes) -> None:
        heard.extend(data)
        if b"\n\n" in heard.partition(b"data")[2]:
            end.set()  # the event was heard while the proxy's answer was still open

    told = await jp_fetch(
        "ultimate-proxy", "api/live", params={"filter": "model:gpt"}, streaming_callback=chunk, request_timeout=20
    )
    assert told.headers["Content-Type"] == "text/event-stream"
    assert bytes(heard) == b': keep\n\nevent: call\nid: 7\ndata: {"call_id": "7"}\n\n'
    assert proxy.asked[-1][1:3] == ("/api/live?filter=model%3Agpt", f"Bearer {KEY}")


async def test_a_proxy_without_events_says_so(jp_fetch: Fetch, proxy: Scripted) -> None:
    status, error = await refused(jp_fetch("ultimate-proxy", "api/live"))
    assert (status, error["code"]) == (404, "not_found")
    proxy.answers["/api/live"] = {"rows": []}
    told = await jp_fetch("ultimate-proxy", "api/live")
    assert told.headers["Content-Type"].startswith("application/json"), "a page sees that these are no events"


async def test_a_silent_stream_ends(
    jp_fetch: Fetch, jp_serverapp: Any, proxy: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared(jp_serverapp).upstream, "_silence_s", 0.3)
    end = asyncio.Event()
    proxy.answers["/api/live"] = events(": keep\n\n", end=end)
    told = await jp_fetch("ultimate-proxy", "api/live", request_timeout=20)
    assert told.body == b": keep\n\n"
    end.set()


async def test_the_proxys_stream_closes_when_the_page_leaves(
    jp_fetch: Fetch, proxy: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    closed = asyncio.Event()

    async def on_and_on(handler: RequestHandler) -> None:
        handler.set_header("Content-Type", "text/event-stream")
        with contextlib.suppress(StreamClosedError):
            while True:
                handler.write(": keep\n\n")
                await handler.flush()
                await asyncio.sleep(0.05)
        closed.set()

    proxy.answers["/api/live"] = on_and_on
    with pytest.raises(HTTPClientError):
        await jp_fetch("ultimate-proxy", "api/live", request_timeout=1.0)
    await asyncio.wait_for(closed.wait(), 5)
    assert "Uncaught" not in caplog.text, "somebody who leaves is no failure"

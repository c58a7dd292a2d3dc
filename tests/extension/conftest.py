"""A Jupyter server with our routes, and a scripted proxy behind them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_jupyter.jupyter_server import *  # noqa: F403 - its fixtures and its hooks for coroutine tests
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

EXTENSION = Path(__file__).parents[2] / "extension"
sys.path.insert(0, str(EXTENSION))

KEY = "cp_test-key"
Answer = Callable[[RequestHandler], Awaitable[None]]


class Scripted:
    """A proxy that answers as it is told: path → JSON, (status, JSON) or a coroutine; remembers what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        self.answers: dict[str, Any] = {
            "/api/version": {"version": "0.1.0", "api": 1, "demo": True},
            "/api/auth/verify": {"user_name": "ada", "permissions": ["analytics:view"], "sees_all_calls": True,
                                 "csrf_token": None, "key_id": "k1"},
        }  # fmt: skip

    async def answer(self, handler: RequestHandler) -> None:
        request = handler.request
        self.asked.append(
            (request.method or "", request.uri or "", request.headers.get("Authorization"), request.body)
        )
        told = self.answers.get(request.path, (404, {"error": {"code": "not_found", "message": "No.", "hint": ""}}))
        if callable(told):
            await told(handler)
            return
        status, document = told if isinstance(told, tuple) else (200, told)
        handler.set_status(status)
        handler.set_header("Content-Type", "application/json")
        handler.finish(json.dumps(document))


class _Any(RequestHandler):
    def initialize(self, scripted: Scripted) -> None:
        self.scripted = scripted

    async def prepare(self) -> None:
        await self.scripted.answer(self)

    def nothing(self) -> None:
        pass

    get = put = post = delete = nothing


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"jupyterlab_ultimate_proxy": True}}}


@pytest.fixture
def proxy(
    jp_asyncio_loop: asyncio.AbstractEventLoop, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scripted]:
    """The scripted proxy, found by the environment of the Jupyter server."""
    listener, port = bind_unused_port()
    scripted = Scripted(port)

    async def serve() -> HTTPServer:
        server = HTTPServer(Application([(".*", _Any, {"scripted": scripted})]))
        server.add_socket(listener)
        return server

    server = jp_asyncio_loop.run_until_complete(serve())
    monkeypatch.setenv("CLAUDE_PROXY_URL", scripted.url)
    monkeypatch.setenv("CLAUDE_PROXY_API_KEY", KEY)
    yield scripted
    server.stop()
    jp_asyncio_loop.run_until_complete(server.close_all_connections())


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, key or setting of whoever runs the tests."""
    for name in ("CLAUDE_PROXY_URL", "CLAUDE_PROXY_API_KEY", "JUPYTERLAB_SETTINGS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLAUDE_PROXY_HOME", str(tmp_path / "client"))
    monkeypatch.setenv("ULTIMATE_DATA_FOLDER", str(tmp_path / "proxy"))

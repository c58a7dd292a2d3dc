"""A control process without gateways: its own thread and loop, a real store, a real socket on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from proxy_server.control import app
from proxy_server.control.router import Route
from proxy_server.control.routes import TABLE
from proxy_server.process import Child
from tests.store.ready import ready_store
from ultimate_lib.access import local
from ultimate_lib.access.keys import create_key
from ultimate_lib.access.principal import Principal
from ultimate_lib.access.roles import permissions_of
from ultimate_lib.settings import load
from ultimate_lib.store import identities
from ultimate_lib.workbench import Workbench


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Alone:
    """A running server and what a test asks it with."""

    def __init__(self, bench: Workbench, port: int) -> None:
        self.bench = bench
        self.port = port
        self.host = f"127.0.0.1:{port}"
        started = local.first_start(bench.settings, bench.store, bench.clock)
        assert started.local_json is not None
        self.key: str = json.loads(started.local_json.read_text())["key"]
        self.link = started.link_token
        self.admin_id = started.user_id

    def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        told: Any = None,
    ) -> Reply:
        """Send one request exactly as written; `told` is sent as JSON."""
        sent = {"Host": self.host, **(headers or {})}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if told is not None:
            body = json.dumps(told)
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            data = body.encode() if isinstance(body, str) else body
            if data is not None:
                sent["Content-Length"] = str(len(data))
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Reply:
        return self.ask("GET", path, key=more.pop("key", self.key), **more)

    def sign_in(self, **headers: str) -> str:
        """Use the printed link up and return the cookie header's value."""
        reply = self.ask("GET", f"/login?link={self.link}", headers=headers)
        assert reply.status == 303, reply.text
        return reply.headers["Set-Cookie"].partition(";")[0]

    def add_user(self, name: str, *roles: str) -> str:
        """Add a user who holds the roles and return a key with all that they give."""
        user_id = f"user_{name}"
        with self.bench.store.begin() as connection:
            row = {"id": user_id, "name": name, "active": True, "created_at": self.bench.clock.now()}
            identities.add_user(connection, row, roles)
        held = permissions_of(roles)
        maker = Principal(user_id=user_id, user_name=name, permissions=held)
        return create_key(self.bench.store, self.bench.clock, maker, name="test", scopes=sorted(held))[0]


@contextlib.contextmanager
def start(folder: Path, *, table: Sequence[Route] = TABLE, **overrides: Any) -> Iterator[Alone]:
    """Run control on a free port until the block ends."""
    settings = load(environ={}, overrides={"data.folder": str(folder), **overrides})
    ready_store(settings.store_url).close()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ready = threading.Event()
    held: dict[str, Any] = {}

    async def serve() -> None:
        if table is TABLE:
            child = Child(
                settings=settings, role="control", slot=0, listener=listener, control_address="", demo_url=""
            )
            held["drain"], held["loop"] = child.drain, asyncio.get_running_loop()
            asyncio.get_running_loop().call_later(0.05, ready.set)
            await app.run(child)
            return
        held["drain"], held["loop"] = asyncio.Event(), asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as threads:
            serving = app.Serving(app.open_workbench(settings), threads, listener, table)
            ready.set()
            await held["drain"].wait()
            await serving.drain(10)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    bench = app.open_workbench(settings)
    try:
        yield Alone(bench, port)
    finally:
        held["loop"].call_soon_threadsafe(held["drain"].set)
        thread.join(30)
        bench.store.close()
        assert not thread.is_alive()

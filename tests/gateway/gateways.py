"""A gateway for tests: its address and key, its rows as they stand in the journal, and plain ways to call it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.harness import wait_until
from tests.store.ready import ready_store
from ultimate_lib import journal, records
from ultimate_lib.access.keys import KeyCache, create_key
from ultimate_lib.access.local import first_start
from ultimate_lib.clock import SystemClock
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Settings, load
from ultimate_lib.store import Store

ANTHROPIC = "/v1/messages"
OPENAI = "/v1/chat/completions"
CLAUDE, GPT = "claude-sonnet-4-5", "gpt-4o-mini"
PATHS = {"anthropic": ANTHROPIC, "openai": OPENAI}
MODELS = {"anthropic": CLAUDE, "openai": GPT}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    def __init__(self, folder: Path, process: subprocess.Popen[bytes], told: dict[str, Any]) -> None:
        self.folder = folder
        self.process = process
        self.port: int = told["port"]
        self.key: str = told["key"]
        self.pid: int = told["pid"]
        self.url = f"http://127.0.0.1:{self.port}"

    def rows(self) -> list[CallRecord]:
        """Return the call lines that stand in the journal's files at this moment."""
        while True:
            found = []
            try:
                for owner in journal.writer_folders(self.folder / "journal"):
                    for segment in journal.segments(owner):
                        lines = journal.read_segment(segment.path).calls
                        found += [records.decode(line) for line in lines.split(b"\n") if line]
            except FileNotFoundError:  # sealed, and so renamed, since it was listed
                continue
            return found

    def row(self, call_id: str) -> CallRecord:
        (found,) = [row for row in self.rows() if row.call_id == call_id]
        return found

    @contextlib.contextmanager
    def one_row(self, within_s: float = 10.0) -> Iterator[list[CallRecord]]:
        """Give a list that holds, after the block, the one row that was written meanwhile."""
        before = {row.call_id for row in self.rows()}
        found: list[CallRecord] = []
        yield found

        def written() -> bool:
            found[:] = [row for row in self.rows() if row.call_id not in before]
            return bool(found)

        wait_until(written, within_s)
        assert len(found) == 1, f"{len(found)} rows"

    def told(self) -> dict[str, Any]:
        """Return its last snapshot."""
        shots = [json.loads(path.read_bytes()) for path in (self.folder / "run").glob("gateway-*.json")]
        return next((one for one in shots if one["pid"] == self.pid), {})

    def wait_for_beats(self, number: int) -> None:
        """Wait until it has told of itself so often: what it does at each beat is done, what it was sent read."""
        for _ in range(number):
            last = self.told().get("at_us")
            wait_until(lambda last=last: self.told().get("at_us") != last, 10)  # type: ignore[misc]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"x-api-key": self.key, **(headers or {})})
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())
        finally:
            connection.close()

    def key_for_elsewhere(self, **about: Any) -> str:
        """Return a key that does not ask for this machine, unlike the one in local.json."""
        clock = SystemClock()
        store = Store(load(environ={}, overrides={"data.folder": str(self.folder)}).store_url)
        admin = KeyCache(store, clock).lookup(self.key)
        assert admin is not None
        key, _ = create_key(
            store, clock, msgspec.structs.replace(admin, loopback_only=False), name="elsewhere", **about
        )
        store.close()
        return key

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, {"content-type": "application/json", **(headers or {})})

    def open(self, path: str, body: object) -> Raw:
        """Send a request on a raw socket."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {self.key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        return Raw(self.port, head.encode() + data)


class Raw:
    """A client on a raw socket."""

    def __init__(self, port: int, data: bytes, *, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(10)
        self.seen = bytearray()
        self.socket.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """Read until `mark` has come and return everything so far."""
        while mark not in self.seen:
            data = self.socket.recv(65536)
            if not data:
                break
            self.seen += data
        assert mark in self.seen, self.seen[-500:]
        return bytes(self.seen)

    def rest(self) -> bytes:
        """Read to the end of the connection, or of a chunked answer, and close."""
        while not self.seen.endswith(b"0\r\n\r\n"):
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                break
            if not data:
                break
            self.seen += data
        self.socket.close()
        return bytes(self.seen)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def prepare(settings: Settings) -> None:
    """Make what must stand before anyone serves: tables, the local administrator, `local.json`."""
    if settings.store_url.startswith("sqlite:"):
        store = ready_store(settings.store_url)
    else:
        store = Store(settings.store_url)
        store.migrate()
    first_start(settings, store, SystemClock())
    store.close()


@contextlib.contextmanager
def start_gateway(folder: Path, config: str = "", env: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """Run a gateway of its own over a data folder. BEAT_S in `env` is how often it does what it does each second."""
    path = folder / "ultimate.toml"
    path.write_text(config, encoding="utf-8")
    log = (folder / "gateway.log").open("wb")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ULTIMATE_")} | {
        **(env or {})
    }
    prepare(load(path, environ=environ, overrides={"data.folder": str(folder / "data")}))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.alone", str(folder / "data"), str(path)],
        stdout=subprocess.PIPE,
        stderr=log,
        env=environ,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, (folder / "gateway.log").read_text()
        yield Gateway(folder / "data", process, json.loads(line))
    finally:
        process.terminate()
        process.wait(15)
        process.stdout.close()
        log.close()


PROVIDERS = """
[providers.anthropic]
base_url = "{url}"
api_key_env = "TEST_ANTHROPIC_KEY"
[providers.openai]
base_url = "{url}/v1"
api_key_env = "TEST_OPENAI_KEY"
"""
KEYS = {"TEST_ANTHROPIC_KEY": "sk-ant-provider", "TEST_OPENAI_KEY": "sk-openai-provider"}
OFTEN = {**KEYS, "BEAT_S": "0.2"}
"""Besides the keys, a beat that tests need not wait for: each of them begins with what a gateway has to notice."""


def ask(protocol: str, **members: object) -> dict[str, object]:
    """Return a small request body of a protocol."""
    body: dict[str, object] = {"model": MODELS[protocol], "messages": [{"role": "user", "content": "Hello"}]}
    if protocol == "anthropic":
        body["max_tokens"] = 100
    return {**body, **members}

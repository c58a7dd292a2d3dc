"""A client of live events on a plain socket."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.harness import wait_until


class Heard(NamedTuple):
    event: str
    id: str
    data: Any
    at: float  # of the monotonic clock


class Listener:
    """Reads events in a thread. `status` is of the answer's head; `ended` is set when the stream is over."""

    def __init__(self, url: str, path: str, key: str, headers: dict[str, str], *, paused: bool, buffer: int) -> None:
        parts = urlsplit(url)
        self._socket = socket.socket()
        if buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.connect((parts.hostname or "", parts.port or 80))
        lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"Authorization: Bearer {key}"] if key else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.heard: list[Heard] = []
        self.comments: list[str] = []
        self.status = 0
        self.ended = threading.Event()
        self.go_on = threading.Event()
        if not paused:
            self.go_on.set()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as file:
            self.status = int(file.readline().split()[1])
            while file.readline() not in {b"\r\n", b""}:
                pass
            text = b""
            self.go_on.wait()
            while size := int(file.readline(), 16):
                text += file.read(size)
                file.readline()
                *blocks, text = text.split(b"\n\n")
                for block in blocks:
                    self._take(block.decode())
        self.ended.set()

    def _take(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if block.startswith(":"):
            self.comments.append(block)
        elif "event" in fields:
            self.heard.append(
                Heard(fields["event"], fields.get("id", ""), json.loads(fields["data"]), time.monotonic())
            )

    def wait(self, number: int, seconds: float = 20.0) -> list[Heard]:
        """Wait for so many events and return all."""
        wait_until(lambda: len(self.heard) >= number, seconds)
        return self.heard

    def wait_for(self, call_id: str, seconds: float = 20.0) -> None:
        """Wait until a call is told."""
        wait_until(lambda: call_id in self.ids(), seconds)

    def ids(self) -> list[str]:
        return [one.id for one in self.heard if one.event == "call"]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.go_on.set()
        self._thread.join(5)


@contextlib.contextmanager
def listen(
    url: str, key: str, query: str = "", *, paused: bool = False, buffer: int = 0, **headers: str
) -> Iterator[Listener]:
    """Listen for the time of a block; returns when the server has begun to answer."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    listener = Listener(url, f"/api/live{query}", key, sent, paused=paused, buffer=buffer)
    try:
        wait_until(lambda: listener.status or listener.ended.is_set(), 20)
        yield listener
    finally:
        listener.close()

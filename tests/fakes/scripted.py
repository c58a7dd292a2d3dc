"""A provider on a raw socket that sends exactly the bytes it is told, however nasty, and remembers what it got."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable

from tests.stopwatch import Stopwatch


class Connection:
    """One request of the gateway, and the way to answer it."""

    def __init__(self, sock: socket.socket, head: bytes, body: bytes) -> None:
        self._socket = sock
        self.head = head
        self.body = body
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.ended = False

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known == name), None)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def left_within(self, seconds: float) -> float | None:
        """Return how long it took until the gateway closed the connection, or None if it stayed."""
        self._socket.settimeout(seconds)
        with Stopwatch() as took:
            try:
                gone = self._socket.recv(1) == b""
            except TimeoutError:
                return None
            except ConnectionError:
                gone = True
        return took.seconds if gone else None

    def close(self) -> None:
        self.ended = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def reset(self) -> None:
        self.ended = True
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


Script = Callable[[Connection], None]


class Scripted:
    """Serves every request with `script`, in a thread of its own per connection."""

    def __init__(self) -> None:
        self.script: Script = answer(b"{}")
        self.requests: list[Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        held = b""
        with contextlib.suppress(OSError), sock:
            while True:
                while b"\r\n\r\n" not in held:
                    data = sock.recv(65536)
                    if not data:
                        return
                    held += data
                head, _, held = held.partition(b"\r\n\r\n")
                size = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                while len(held) < size:
                    data = sock.recv(65536)
                    if not data:
                        return
                    held += data
                body, held = held[:size], held[size:]
                connection = Connection(sock, head, body)
                self.requests.append(connection)
                self.script(connection)
                if connection.ended:
                    return
                sock.settimeout(None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else the thread goes on accepting, at the next one's number
        self._listener.close()
        self._accepting.join()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(status: int = 200, kind: str = "text/event-stream", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "transfer-encoding: chunked", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: bytes, status: int = 200, *more: str, kind: str = "application/json") -> Script:
    """Return a script that answers with one whole body."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}", *more, "", ""]

    def script(connection: Connection) -> None:
        connection.send("\r\n".join(lines).encode() + body)

    return script


def stream(pieces: Iterable[bytes], *more: str, pause_s: float = 0.0, status: int = 200) -> Script:
    """Return a script that answers with an event stream in these chunks."""
    kept = list(pieces)

    def script(connection: Connection) -> None:
        connection.send(head(status, "text/event-stream", *more))
        for piece in kept:
            if pause_s:
                time.sleep(pause_s)
            connection.send(chunk(piece))
        connection.send(b"0\r\n\r\n")

    return script

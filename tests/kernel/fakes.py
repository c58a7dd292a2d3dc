"""Servers that answer as a proxy should not, and a provider that tells who called it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Answers by path: a status and a JSON value, after a silence. Remembers the headers of what came."""

    daemon_threads = True

    def __init__(self, answers: dict[str, tuple[int, Any]], silence_s: float = 0.0, port: int = 0) -> None:
        self.answers = answers
        self.silence_s = silence_s
        self.seen: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        time.sleep(server.silence_s)
        status, value = server.answers.get(self.path.partition("?")[0], (404, {"error": {"code": "not_found"}}))
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - as the standard library calls it

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(answers: dict[str, tuple[int, Any]], *, silence_s: float = 0.0, port: int = 0) -> Iterator[Server]:
    server = Server(answers, silence_s, port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


CHAT = {
    "id": "chatcmpl-direct", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "direct"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
MESSAGE = {
    "id": "msg_direct", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "direct"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
PROVIDER = {"/v1/chat/completions": (200, CHAT), "/v1/messages": (200, MESSAGE)}
VERSION = {"version": "0.1.0", "api": 1, "demo": False}
VERIFIED = {"user_name": "ann", "permissions": ["proxy:call", "analytics:view"]}

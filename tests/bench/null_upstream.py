"""The fastest provider there can be in Python: fixed bytes from an asyncio protocol, streams by timer.

    python -m tests.bench.null_upstream --chunks 200 --spacing-ms 50 --first-ms 0

Prints its port. A body that holds `"stream":true` is answered as a Chat Completions stream of `--chunks` events, each
written by itself; everything else with one whole completion.
"""

from __future__ import annotations

import argparse
import asyncio

import uvloop

_USAGE = (
    b'"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,'
    b'"prompt_tokens_details":{"cached_tokens":0}}'
)
_WHOLE = (
    b'{"id":"chatcmpl-9XyZ","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"The scripted provider answers so that you can try everything."},'
    b'"finish_reason":"stop","logprobs":null}],' + _USAGE + b"}"
)
WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_123\r\n"
    b"openai-processing-ms: 12\r\nContent-Length: %d\r\n\r\n" % len(_WHOLE)
) + _WHOLE
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(members: bytes) -> bytes:
    return _chunk(
        b'data: {"id":"chatcmpl-9XyZ","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
        + members
        + b"}\n\n"
    )


_DELTA = _event(b'"choices":[{"index":0,"delta":{"content":"word and "},"finish_reason":null}]')
_END = (
    _event(b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]')
    + _event(b'"choices":[],' + _USAGE)
    + _chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


class Null(asyncio.Protocol):
    """One connection."""

    chunks = 20
    spacing_s = 0.05
    first_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.held = b""
        self.left = 0
        self.timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.held += data
        while True:
            end = self.held.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.held[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.held) < end + 4 + size:
                return
            body = self.held[end + 4 : end + 4 + size]
            self.held = self.held[end + 4 + size :]
            if b'"stream":true' in body:
                self.left = self.chunks
                self.transport.write(_HEAD)
                self.timer = asyncio.get_running_loop().call_later(self.first_s, self._next)
            else:
                self.transport.write(WHOLE)

    def _next(self) -> None:
        if self.left == 0:
            self.transport.write(_END)
            return
        self.left -= 1
        self.transport.write(_DELTA)
        self.timer = asyncio.get_running_loop().call_later(self.spacing_s, self._next)


async def _main(arguments: argparse.Namespace) -> None:
    Null.chunks, Null.spacing_s, Null.first_s = arguments.chunks, arguments.spacing_ms / 1e3, arguments.first_ms / 1e3
    server = await asyncio.get_running_loop().create_server(Null, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--spacing-ms", type=float, default=50)
    parser.add_argument("--first-ms", type=float, default=0)
    uvloop.run(_main(parser.parse_args()))

"""Framing over raw sockets: what two parsers could read differently is a 400 and the end of the connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.harness import Running, start_proxy

BODY = json.dumps(
    {"model": "demo/claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
).encode()
LAST = b"Connection: close"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("framing")) as running:
        yield running


def send(proxy: Running, *parts: bytes) -> bytes:
    """Send bytes as they are and return everything that comes until the other side closes."""
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answer = b""
        try:
            connection.sendall(b"".join(parts))
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
    return answer


def post(proxy: Running, *headers: bytes, path: bytes = b"/v1/messages", version: bytes = b"HTTP/1.1") -> bytes:
    head = [b"POST %b %b" % (path, version), b"Host: x", b"X-Api-Key: " + proxy.key.encode(), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n"


def test_a_well_framed_call_is_answered(proxy: Running) -> None:
    length = b"Content-Length: %d" % len(BODY)
    assert send(proxy, post(proxy, length, LAST), BODY).startswith(b"HTTP/1.1 200 ")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert send(proxy, post(proxy, b"Transfer-Encoding: chunked", LAST), chunked).startswith(b"HTTP/1.1 200 ")
    twice = send(proxy, post(proxy, length), BODY, post(proxy, length, LAST), BODY)
    assert twice.count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("path", [b"/v1/messages", b"/api/anything"], ids=["call", "page"])
@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: +5",),
        (b"Content-Length: -5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: 5_0",),
        (b"Content-Length: ",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: xchunked",),
        (b"Content-Length : 5",),
        (b"Content-Length: 5\nX-Smuggled: yes",),
        (b"X-One: a\rX-Smuggled: yes", b"Content-Length: 5"),
        (b"X-One: a\r\n folded", b"Content-Length: 5"),
        (b" X-Space: a", b"Content-Length: 5"),
        (b"No colon", b"Content-Length: 5"),
        (b"X-Null: a\x00b", b"Content-Length: 5"),
    ],
    ids=lambda headers: b" | ".join(headers).decode("latin-1"),
)
def test_doubtful_framing_is_refused(proxy: Running, headers: tuple[bytes, ...], path: bytes) -> None:
    hidden = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = send(proxy, post(proxy, *headers, path=path), b"0\r\n\r\n", hidden)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in head
    assert json.loads(body)["error"]["message"], "and nothing behind it is read as a request"


@pytest.mark.parametrize(
    "body",
    [b"5 \r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhelloX\r\n0\r\n\r\n",
     b"0x5\r\nhello\r\n0\r\n\r\n", b"5;\nhello\r\n0\r\n\r\n", b"fffffffffffffffff0\r\nhello"],
)  # fmt: skip
def test_a_malformed_chunk_is_refused(proxy: Running, body: bytes) -> None:
    answer = send(proxy, post(proxy, b"Transfer-Encoding: chunked"), body, bytes(100))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
    assert not answer or "chunk" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_malformed_chunk_for_a_page_is_told_as_well(proxy: Running) -> None:
    answer = send(proxy, post(proxy, b"Transfer-Encoding: chunked", path=b"/api/keys"), b"5 \r\nhello\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "chunk" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize(
    "line", [b"GET /\r\n", b"GET / HTTP/1.1\n", b"GET  / HTTP/1.1\r\n", b"G\x00T / HTTP/1.1\r\n", b"GET / HTTP/3\r\n"]
)
def test_a_doubtful_first_line_is_refused(proxy: Running, line: bytes) -> None:
    assert send(proxy, line + b"Host: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_headers_have_a_limit_that_is_told(proxy: Running) -> None:
    fill = [b"X-Fill-%d: %b" % (number, b"x" * 1000) for number in range(31)]
    length = b"Content-Length: %d" % len(BODY)
    assert send(proxy, post(proxy, *fill, length, LAST), BODY).startswith(b"HTTP/1.1 200 ")
    answer = send(proxy, post(proxy, *fill, *fill[:3], length), BODY)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"] == (
        "The headers are larger than 32768 bytes. Send less, or raise limits.header_bytes."
    )
    assert not send(proxy, b"GET /health HTTP/1.1\r\nX-Endless: ", b"x" * 200_000).startswith(b"HTTP/1.1 200 ")


def test_a_transfer_encoding_is_no_part_of_http_1_0(proxy: Running) -> None:
    head = post(proxy, b"Transfer-Encoding: chunked", version=b"HTTP/1.0")
    assert send(proxy, head, b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")

"""Strict framing of requests: what two HTTP parsers could read differently is refused with a 400.

Tornado 6.6 already refuses a body framed twice, unequal lengths, unknown transfer encodings and malformed chunks, but
takes lines that end in a bare LF and equal lengths that are given twice, says nothing of what is wrong, and closes
without a word when headers are too large. The checks of a head run before anyone has seen the request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tornado.httputil import HTTPInputError, HTTPMessageDelegate

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders

LOOK_AT_CLIENT = "Look at the client, and at what stands before this proxy."
_SMALLER = "Send less, or raise limits.header_bytes."
MOST_DIGITS = 18  # of a Content-Length that are looked at: it is vast then, and Python reads no thousands of them
READ_AHEAD = 2  # Tornado reads this many times the limit, so that a refusal can be told


class TooLargeError(HTTPInputError):
    """The head is larger than the limit."""


class Reader(HTTPMessageDelegate):
    """Who is given a request, and answers one whose body turns out to be malformed."""

    def malformed(self, error: HTTPInputError) -> None:
        """Say what is wrong with the body; nothing follows."""
        raise NotImplementedError


def refusal(error: HTTPInputError) -> bytes:
    """Return what a client is told, before anyone knows which protocol it speaks."""
    if isinstance(error, TooLargeError):
        status, code, hint = "431 Request Header Fields Too Large", "headers_large", _SMALLER
    else:
        status, code, hint = "400 Bad Request", "framing", LOOK_AT_CLIENT
    told = {"code": code, "message": f"{error}. {hint}", "type": "invalid_request_error"}
    body = json.dumps({"error": told}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def check_size(data: bytes, most_read: int) -> None:
    """Refuse a head that is larger than the limit; `most_read` is what Tornado reads of it."""
    if len(data) * READ_AHEAD > most_read:
        raise TooLargeError(f"The headers are larger than {most_read // READ_AHEAD} bytes")


def check_lines(data: bytes) -> None:
    """Refuse a head in which a line ends in a bare CR or LF, or holds one."""
    lines = data.count(b"\r\n")
    if data.count(b"\n") != lines or data.count(b"\r") != lines:
        raise HTTPInputError("A line ends in a bare CR or LF")


def check_body(line: str, headers: HTTPHeaders) -> None:
    """Refuse a body whose end is told in two ways, or in one that HTTP/1.0 does not know."""
    length = headers.get("Content-Length")
    if length is not None and not (length.isascii() and length.isdigit()):
        raise HTTPInputError(f"Content-Length {length!r} is not one number")
    if "Transfer-Encoding" in headers:
        if length is not None or not line.endswith("HTTP/1.1"):
            raise HTTPInputError("Transfer-Encoding beside a Content-Length, or in HTTP/1.0")
        if headers["Transfer-Encoding"].lower() != "chunked":
            raise HTTPInputError("Transfer-Encoding is something else than chunked")

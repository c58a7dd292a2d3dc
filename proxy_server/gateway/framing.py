"""Strict framing of requests: what two HTTP parsers could read differently is refused with a 400.

Tornado 6.6 already refuses a body framed twice, unequal lengths, unknown transfer encodings and malformed chunks, but
takes lines that end in a bare LF and equal lengths that are given twice, and closes without a word when headers are too
large. The checks run before anyone has seen the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.httputil import HTTPInputError

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection
    from tornado.httputil import HTTPHeaders

READ_AHEAD = 2  # Tornado reads this many times the limit, so that a refusal can be told


def be_strict(connection: HTTP1Connection, most_bytes: int) -> None:
    """Make a connection refuse the next request if its head is doubtful or larger than `most_bytes`."""
    parse = connection._parse_headers  # noqa: SLF001 - the one place that sees the head as it came

    def strict(data: bytes) -> tuple[str, HTTPHeaders]:
        if len(data) > most_bytes:
            raise HTTPInputError(f"The headers are larger than {most_bytes} bytes")
        lines = data.count(b"\r\n")
        if data.count(b"\n") != lines or data.count(b"\r") != lines:
            raise HTTPInputError("A line ends in a bare CR or LF")
        line, headers = parse(data)
        length = headers.get("Content-Length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise HTTPInputError(f"Content-Length {length!r} is not one number")
        if "Transfer-Encoding" in headers and (length is not None or not line.endswith("HTTP/1.1")):
            raise HTTPInputError("Transfer-Encoding beside a Content-Length, or in HTTP/1.0")
        return line, headers

    connection._parse_headers = strict  # type: ignore[method-assign] # noqa: SLF001 - see above

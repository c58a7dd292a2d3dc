"""Our one-pass reading of a header block says the same as Tornado's own parser, or leaves it to that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPInputError

from proxy_server.gateway.connection import Connection
from proxy_server.gateway.framing import check_body, check_lines

NAMES = st.sampled_from(
    ["Host", "content-length", "X-A", "x-a", "COOKIE", "x_b", "a b", "", "x\x00", "Transfer-Encoding"]
)
VALUES = st.text(st.characters(max_codepoint=0xFF), max_size=12) | st.sampled_from(["", " 5 ", "\t5", "a,b", "ü"])
ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\r\n\t"])
SEPARATORS = st.sampled_from([": ", ":", ":  ", " : ", ""])
LINES = st.lists(st.tuples(NAMES, SEPARATORS, VALUES, ENDS), max_size=5)


def read(kind: type[HTTP1Connection], data: bytes) -> object:
    connection: Any = kind.__new__(kind)
    connection.stream = SimpleNamespace(write=lambda _: None, close=lambda: None)
    connection.params = HTTP1ConnectionParameters(max_header_size=65536)
    try:
        line, headers = connection._parse_headers(data)
        if kind is HTTP1Connection:  # what we refuse beyond Tornado, framing.py says
            check_lines(data)
            check_body(line, headers)
    except HTTPInputError:
        return "refused"
    return line, sorted(headers.get_all())


@settings(max_examples=1500, deadline=None)
@given(LINES)
def test_both_parsers_agree(lines: list[tuple[str, str, str, str]]) -> None:
    block = "".join(f"{name}{separator}{value}{end}" for name, separator, value, end in lines)
    data = f"POST /v1/messages HTTP/1.1\r\n{block}\r\n".encode("latin-1")
    assert read(Connection, data) == read(HTTP1Connection, data)

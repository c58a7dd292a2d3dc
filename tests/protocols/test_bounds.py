"""The upper bound of a request's input: what it counts, however its body is written and however large it is."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultimate_lib.protocols import anthropic_messages, openai_chat
from ultimate_lib.protocols import bounds as bounds_of
from ultimate_lib.protocols.bounds import _spelled_out, bounds
from ultimate_lib.protocols.telling import TELLING

CLAUDE = "claude-sonnet-4-5"
PICTURE = base64.b64encode(os.urandom(9000)).decode()


def block(data: str = PICTURE) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def body(*content: Any, **members: Any) -> bytes:
    told = {"model": CLAUDE, "max_tokens": 10, "messages": [{"role": "user", "content": list(content)}], **members}
    return json.dumps(told).encode()


def tokens(data: bytes) -> int:
    return bounds(data, anthropic_messages.read_request(data), CLAUDE).input_tokens


def test_a_picture_counts_by_its_largest_size() -> None:
    data = body(block(), {"type": "text", "text": "Hello"})
    assert tokens(data) == len(data) + 64 + 6000 - len(PICTURE)


def test_a_picture_within_a_tools_result_does_too() -> None:
    data = body({"type": "tool_result", "tool_use_id": "t", "content": [block(), block()]}, block())
    assert tokens(data) == len(data) + 64 + 3 * (6000 - len(PICTURE))


def test_a_picture_in_an_address_counts_by_its_size_however_its_slashes_are_written() -> None:
    for slash in ("/", "\\/"):
        url = f"data:image{slash}png;base64,{PICTURE}"
        picture = b'{"type":"image_url","image_url":{"url":"%b"}}' % url.encode()
        data = b'{"model":"gpt-4o","messages":[{"role":"user","content":[%b]}]}' % picture
        told = bounds(data, openai_chat.read_request(data), "gpt-4o")
        assert told.input_tokens == len(data) + 64 + 6000 - len(url)


def test_results_within_results_are_looked_into_so_far_and_no_further() -> None:
    inner: dict[str, Any] = block()
    for _ in range(2):
        inner = {"type": "tool_result", "content": [inner]}
    data = body(inner)
    assert tokens(data) == len(data) + 64 + 6000 - len(PICTURE)
    for _ in range(2):
        inner = {"type": "tool_result", "content": [inner]}
    data = body(inner)
    assert tokens(data) == len(data) + 64 + 1_000_000


def test_what_looks_like_a_picture_elsewhere_counts_by_its_bytes() -> None:
    data = body({"type": "tool_use", "id": "t", "name": "x", "input": {"content": [block()]}}, {"type": "text"})
    assert tokens(data) == len(data) + 64


def test_keys_spelled_with_escapes_are_seen() -> None:
    data = body({"type": "document", "source": {"type": "url", "url": "x"}}).replace(
        b'"document"', b'"d\\u006fcument"'
    )
    assert tokens(data) == len(data) + 64 + 1_000_000
    data = body("x", mcp_servers=[]).replace(b'"mcp_servers"', b'"\\u006dcp_servers"')
    assert bounds(data, anthropic_messages.read_request(data), CLAUDE).unbound == "it calls MCP servers"


MARKS = (
    "image",
    "image_url",
    "input_image",
    "document",
    "file",
    "input_file",
    "input_audio",
    "container_upload",
    "cache_control",
)


@pytest.mark.parametrize("mark", MARKS)
def test_a_body_is_plain_only_without_media_caching_and_escapes(mark: str) -> None:
    plain = body({"type": "text", "text": "an image, a document, a file; input_ and cache_control"}, user="an image")
    assert anthropic_messages.read_request(plain).plain
    for part in ({"type": mark}, {mark: {}}, {"deep": [{mark: 1}]}):
        data = body({"type": "text"}, part)
        assert not anthropic_messages.read_request(data).plain
        assert not openai_chat.read_request(data).plain
        escaped = data.replace(mark.encode(), b"\\u00%02x" % ord(mark[0]) + mark[1:].encode())
        assert json.loads(escaped) == json.loads(data)
        assert not anthropic_messages.read_request(escaped).plain


@pytest.mark.parametrize("name", sorted(TELLING))
@pytest.mark.parametrize("value", [None, 0, "", [], {}, {"a": 1}])
def test_what_tells_of_more_use_is_seen_wherever_and_however_it_stands(name: str, value: object) -> None:
    data = body("x")
    member = json.dumps({name: value}).encode()[1:-1]
    escaped = member.replace(b'"%b"' % name.encode(), b'"\\u00%02x%b"' % (ord(name[0]), name[1:].encode()))
    for protocol in (anthropic_messages, openai_chat):
        assert protocol.read_request(body({name: value})).plain
        plain = bounds(data, protocol.read_request(data), CLAUDE)
        for told in (
            b"{%b,%b" % (member, data[1:]),
            b"%b,%b}" % (data[:-1], member),
            b"{%b,%b" % (escaped, data[1:]),
        ):
            facts = protocol.read_request(told)
            assert not facts.plain
            given = bounds(told, facts, CLAUDE)
            same = (given.unbound, given.tier, given.sound) == (plain.unbound, plain.tier, plain.sound)
            assert same == (value is None)


def test_all_that_has_no_bound_is_looked_for() -> None:
    assert set(bounds_of._UNBOUND) < TELLING


@pytest.mark.parametrize("key", [b"service\xff_tier", b"max_\xfftokens", b"\xc3"])
def test_a_body_with_keys_that_are_no_text_cannot_be_read(key: bytes) -> None:
    for text in (b"Hello", "Привет".encode()):
        data = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"%b"}],"%b":1}' % (text, key)
        for protocol in (anthropic_messages, openai_chat):
            assert bounds(data, protocol.read_request(data), CLAUDE).unbound == "its body cannot be read"
        whole = data.replace(key, b"user")
        assert bounds(whole, openai_chat.read_request(whole), CLAUDE).unbound is None


def test_a_member_that_is_null_is_none() -> None:
    data = body("x", mcp_servers=None, service_tier=None, speed=None)
    told = bounds(data, anthropic_messages.read_request(data), CLAUDE)
    assert (told.unbound, told.tier) == (None, None)
    given = openai_chat.with_max_tokens(b'{"model":"o3","max_tokens":null,"max_completion_tokens":null}', "o3", 7)
    assert sorted(json.loads(given).values(), key=str) == [7, None, "o3"]


def test_a_tool_that_the_provider_runs_has_no_bound() -> None:
    own = {"name": "x", "input_schema": {}}
    data = body("x", tools=[own, {"type": "web_search_20250305", "name": "web_search"}])
    told = bounds(data, anthropic_messages.read_request(data), CLAUDE)
    assert told.unbound == "the provider runs the tool 'web_search_20250305' itself"
    data = body("x", tools=[own, {"type": "bash_20250124", "name": "bash"}])
    assert bounds(data, anthropic_messages.read_request(data), CLAUDE).unbound is None
    assert tokens(data) == len(data) + 64 + 2000


PARTS = ["a", r"\u0061", r"\\", r"\u00e9", "u0061", r"\""]


@given(st.lists(st.sampled_from(PARTS), max_size=30), st.integers(6, 40))
def test_where_a_body_is_cut_for_the_search_makes_no_difference(parts: list[str], piece: int) -> None:
    written = f'["{"".join(parts)}"]'.encode()
    whole = _spelled_out(written)
    assert json.loads(whole) == json.loads(written)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds_of, "_PIECE", piece)
        assert _spelled_out(written) == whole


@given(st.text(st.sampled_from('\\"aé<u0061😀\n/'), max_size=60))
def test_escapes_are_resolved_and_nothing_else_changes(text: str) -> None:
    plain = json.dumps([text, text])
    escaped = "".join(f"\\u{ord(letter):04x}" if letter in "a<u061/" else letter for letter in text)
    for written in (plain, json.dumps([text]).replace("a", "\\u0061"), json.dumps([escaped])):
        found = _spelled_out(written.encode())
        assert msgspec.json.decode(found) == json.loads(written)
    assert b"\\u0061" not in _spelled_out(b'"\\u0061\\\\\\u0061"')


@pytest.mark.parametrize("escaped", [False, True])
def test_a_large_body_is_built_and_searched_piece_by_piece(monkeypatch: pytest.MonkeyPatch, escaped: bool) -> None:
    """Whole, it would keep the interpreter's lock, and with it the loop, for hundreds of milliseconds."""
    tool = {"name": "x", "input_schema": {"description": "Hello" * 20}}
    data = body(*[{"type": "text", "text": "Hello Hello"}] * 50_000, block(), tools=[tool] * 5000)
    if escaped:
        data = data.replace(b"Hello Hello", b"Hello \\u003c")
    facts = anthropic_messages.read_request(data)
    built, searched = [0], [0]
    decode, resolve = msgspec.json.decode, bounds_of._ESCAPE

    def decoding(piece: Any, **told: Any) -> Any:
        built.append(len(memoryview(piece)))
        return decode(piece, **told)

    class Searching:
        def sub(self, by: Any, piece: bytes) -> bytes:
            searched.append(len(piece))
            return resolve.sub(by, piece)

    monkeypatch.setattr(msgspec.json, "decode", decoding)
    monkeypatch.setattr(bounds_of, "_ESCAPE", Searching())
    told = bounds(data, facts, CLAUDE)
    assert told.input_tokens == len(data) + 64 + 1000 + 6000 - len(PICTURE)
    assert max(built) < 1000
    assert max(searched) <= (bounds_of._PIECE + 1000 if escaped else 0)
    assert len(data) > 10 * bounds_of._PIECE

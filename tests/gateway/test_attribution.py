"""Which header fills which column, and which never goes upstream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.scripted import Scripted, answer
from tests.gateway.gateways import ANTHROPIC, OPENAI, PATHS, Gateway, Raw, ask, start_gateway
from tests.gateway.test_pass_through import scripted_answer

TRACE = "0af7651916cd43dd8448eb211c80319c"
# header, value, column, what stands there, does it go on to the provider
TABLE = [
    ("x-ultimate-app", "chat", "app", "chat", False),
    ("x-ultimate-project", "search", "project", "search", False),
    ("x-ultimate-session", "s-1", "session_id", "s-1", False),
    ("x-ultimate-end-user", "u-9", "end_user", "u-9", False),
    ("x-ultimate-notebook", "work/größe.ipynb".encode().decode("latin-1"), "notebook", "work/größe.ipynb", False),
    ("x-ultimate-cell", "a1b2", "cell_id", "a1b2", False),
    ("x-ultimate-kernel", "k-1", "kernel_id", "k-1", False),
    ("x-ultimate-tags", "run=7, stage = test,bad,=no", "tags", ["run=7", "stage=test"], False),
    ("x-claude-code-session-id", "cc-1", "session_id", "cc-1", True),
    ("x-claude-code-agent-id", "ag-1", "agent_id", "ag-1", True),
    ("x-claude-code-parent-agent-id", "ag-0", "parent_agent_id", "ag-0", True),
    ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01", "trace_id", TRACE, True),
    ("traceparent", "nonsense", "trace_id", None, True),
    ("x-litellm-tags", "a, b", "tags", ["tag=a", "tag=b"], False),
    ("helicone-property-team", "blue", "tags", ["team=blue"], False),
    ("helicone-session-id", "h-1", "session_id", "h-1", False),
]


@pytest.mark.parametrize(("header", "value", "column", "expected", "passes"), TABLE)
def test_a_header_fills_its_column(  # noqa: PLR0917 - a table
    gateway: Gateway, upstream: Scripted, header: str, value: str, column: str, expected: object, passes: bool
) -> None:
    upstream.script = answer(scripted_answer("openai", streamed=False))
    got = gateway.post(OPENAI, ask("openai"), {header: value})
    assert getattr(gateway.row(got.headers["x-ultimate-call-id"]), column) == expected
    assert (upstream.requests[-1].header(header) is not None) is passes


@pytest.mark.parametrize(
    ("protocol", "members"),
    [
        ("anthropic", {"metadata": {"user_id": "u-1"}}),
        ("openai", {"user": "u-1"}),
        ("openai", {"safety_identifier": "u-1"}),
    ],
)
def test_the_body_names_the_end_user(
    gateway: Gateway, upstream: Scripted, protocol: str, members: dict[str, object]
) -> None:
    upstream.script = answer(scripted_answer(protocol, streamed=False))
    got = gateway.post(PATHS[protocol], ask(protocol, **members))
    assert gateway.row(got.headers["x-ultimate-call-id"]).end_user == "u-1"


def test_at_most_ten_tags_and_short_texts(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(scripted_answer("openai", streamed=False))
    tags = ",".join(f"k{number}={'v' * 400}" for number in range(30))
    got = gateway.post(OPENAI, ask("openai"), {"x-ultimate-tags": tags, "x-ultimate-app": "a" * 1000})
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert row.tags is not None
    assert (len(row.tags), max(map(len, row.tags)), len(row.app or "")) == (10, 256, 256)


def test_what_never_goes_upstream(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    upstream.script = answer(scripted_answer(protocol, streamed=False))
    key = gateway.key_for_elsewhere()  # the claims below make the caller one from elsewhere
    kept = {
        "cookie": "session=1",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-host": "inside",
        "forwarded": "for=10.0.0.1",
        "x-real-ip": "10.0.0.1",
        "proxy-authorization": "Basic x",
        "te": "trailers",
        "keep-alive": "timeout=5",
        "x-ultimate-anything": "1",
        "origin": "http://evil.example",
        "referer": "http://inside/",
        "helicone-auth": "Bearer sk-helicone",
        "x-hop": "drop me",
        "connection": "keep-alive, X-Hop",
        "x-api-key": "",
        "authorization": f"Bearer {key}",
        "accept-encoding": "gzip, br",
    }
    passed = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "tools-2024-04-04,files-api-2025-04-14",
        "user-agent": "Test/1.0",
        "x-stainless-lang": "python",
        "openai-organization": "org-1",
        "x-empty": "",
        "accept": "text/event-stream",
    }
    gateway.post(PATHS[protocol], ask(protocol), {**kept, **passed})
    sent = upstream.requests[-1]
    told = dict(sent.headers)
    for name in kept:
        assert name in {"authorization", "accept-encoding", "x-api-key"} or name not in told, name
    assert {name: told.get(name) for name in passed} == passed
    assert told["accept-encoding"] == "identity"
    assert told["host"] == f"127.0.0.1:{upstream.port}"
    assert key not in sent.head.decode("latin-1")
    if protocol == "anthropic":
        assert told["x-api-key"] == "sk-ant-provider"
        assert "authorization" not in told
    else:
        assert told["authorization"] == "Bearer sk-openai-provider"
        assert "x-api-key" not in told
    names = [name for name, _ in sent.headers]
    assert len(names) == len(set(names))


def test_nothing_is_added_that_the_client_did_not_send(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    body = json.dumps(ask("anthropic")).encode()
    head = f"POST {ANTHROPIC} HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    client = Raw(gateway.port, head.encode() + body)
    client.until(b"msg_01")
    client.close()
    told = {name for name, _ in upstream.requests[-1].headers}
    assert told == {"host", "x-api-key", "accept-encoding", "via", "content-length"}


def test_with_auth_client_the_callers_own_key_goes_to_its_provider(tmp_path: Path, upstream: Scripted) -> None:
    config = f"""
[providers.anthropic]
base_url = "{upstream.url}"
auth = "client"
billing = "subscription"
"""
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    with start_gateway(tmp_path, config) as gateway:
        own = {"x-api-key": "", "x-ultimate-key": gateway.key, "authorization": "Bearer sk-ant-oat-mine"}
        got = gateway.post(ANTHROPIC, ask("anthropic"), own)
        assert got.status == 200
        sent = upstream.requests[-1]
        assert sent.header("authorization") == "Bearer sk-ant-oat-mine"
        assert gateway.key not in sent.head.decode("latin-1")
        row = gateway.row(got.headers["x-ultimate-call-id"])
        assert (row.billing, row.status) == ("subscription", "ok")
        got = gateway.post(ANTHROPIC, ask("anthropic"), {"authorization": "Bearer sk-ant-oat-mine", "x-api-key": ""})
        assert got.status == 401
        assert "x-ultimate-key" in got.json["error"]["message"]
        for ours in ({}, {"x-api-key": "", "authorization": f"Bearer   {gateway.key}"}):
            got = gateway.post(ANTHROPIC, ask("anthropic"), ours)
            assert got.status == 200
            assert gateway.key not in upstream.requests[-1].head.decode("latin-1")
        for path in [gateway.folder, tmp_path / "gateway.log"]:
            for file in [path] if path.is_file() else path.rglob("*"):
                if file.is_file():
                    assert b"oat-mine" not in file.read_bytes(), file


def test_names_without_end_are_cut_in_the_row(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(b'{"id":"%b","model":"m","usage":{"input_tokens":1}}' % (b"i" * 100_000))
    body = ask("anthropic", metadata={"user_id": "u" * 100_000})
    got = gateway.post(ANTHROPIC, body)
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.end_user, row.upstream_id) == ("u" * 256, "i" * 256)
    assert json.loads(upstream.requests[-1].body) == body


def test_bytes_of_a_query_that_are_no_ascii_pass_as_they_came(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    body = json.dumps(ask("anthropic")).encode()
    head = (
        f"POST {ANTHROPIC}?a=%C3%A9\xe9 HTTP/1.1\r\nx-api-key: {gateway.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    client = Raw(gateway.port, head.encode("latin-1") + body)
    assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    client.close()
    assert upstream.requests[-1].path == f"{ANTHROPIC}?a=%C3%A9\xe9"

"""What is refused, is refused in the client's own shape, and leaves a row when its caller is known."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import pytest

from tests.fakes.scripted import Scripted, answer
from tests.gateway.gateways import ANTHROPIC, KEYS, OFTEN, OPENAI, PATHS, PROVIDERS, Gateway, Raw, ask, start_gateway
from tests.gateway.test_pass_through import scripted_answer
from tests.harness import wait_until
from ultimate_lib.access.keys import KeyCache, create_key, revoke_key
from ultimate_lib.clock import SystemClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store

TYPES = {
    "anthropic": {401: "authentication_error", 403: "permission_error", 404: "not_found_error"},
    "openai": {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error"},
}


def told(protocol: str, body: bytes) -> tuple[str, str]:
    """Check the envelope and return the error's type and message."""
    parsed = json.loads(body)
    if protocol == "anthropic":
        assert parsed["type"] == "error"
        assert parsed["request_id"]
    else:
        assert set(parsed["error"]) == {"message", "type", "param", "code"}
    return parsed["error"]["type"], parsed["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"x-api-key": "cp_" + "x" * 43},
        {"x-api-key": "cp_short"},
        {"x-api-key": "sk-ant-provider"},
        {"x-api-key": "", "authorization": "Bearer cp_" + "y" * 43},
        {"x-api-key": "", "authorization": "Basic abc"},
    ],
)
def test_unknown_callers_get_401_and_no_row(
    gateway: Gateway, upstream: Scripted, protocol: str, headers: dict[str, str]
) -> None:
    before, asked = len(gateway.rows()), len(upstream.requests)
    got = gateway.post(PATHS[protocol], ask(protocol), headers)
    assert got.status == 401
    assert told(protocol, got.body)[0] == TYPES[protocol][401]
    assert (len(gateway.rows()), len(upstream.requests)) == (before, asked)


@pytest.mark.parametrize("place", ["x-api-key", "authorization", "x-ultimate-key", "api-key"])
def test_a_key_is_taken_from_each_place(gateway: Gateway, upstream: Scripted, place: str) -> None:
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    value = f"Bearer {gateway.key}" if place == "authorization" else gateway.key
    got = gateway.post(ANTHROPIC, ask("anthropic"), {"x-api-key": "", place: value})
    assert got.status == 200
    assert not [value for name, value in upstream.requests[-1].headers if gateway.key in value]


@pytest.mark.parametrize("claim", ["x-forwarded-for", "x-real-ip", "forwarded"])
def test_behind_a_proxy_that_nobody_declared_loopbacks_rights_end(
    gateway: Gateway, upstream: Scripted, protocol: str, claim: str
) -> None:
    upstream.script = answer(scripted_answer(protocol, streamed=False))
    asked = len(upstream.requests)
    got = gateway.post(PATHS[protocol], ask(protocol), {claim: "127.0.0.1"})
    assert (got.status, len(upstream.requests)) == (401, asked)
    assert "trusted_proxies" in told(protocol, got.body)[1]
    assert gateway.post(PATHS[protocol], ask(protocol)).status == 200, "the next request speaks for itself"


def test_scopes_models_and_revocation_of_a_key(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    clock = SystemClock()
    store = Store(load(environ={}, overrides={"data.folder": str(gateway.folder)}).store_url)
    admin = KeyCache(store, clock).lookup(gateway.key)
    assert admin is not None
    mute, _ = create_key(store, clock, admin, name="mute", scopes=["analytics:view"])
    narrow, row = create_key(store, clock, admin, name="narrow", models=["only-this"])
    with gateway.one_row() as rows:
        got = gateway.post(PATHS[protocol], ask(protocol), {"x-api-key": mute})
    assert got.status == 403
    assert "proxy:call" in told(protocol, got.body)[1]
    assert (rows[0].status, rows[0].http_status, rows[0].error_type) == ("refused", 403, "permission")
    got = gateway.post(PATHS[protocol], ask(protocol), {"x-api-key": narrow})
    assert got.status == 403
    assert told(protocol, got.body) == (TYPES[protocol][403], got.json["error"]["message"])
    assert gateway.row(got.headers["x-ultimate-call-id"]).key_id == row["id"]
    revoke_key(store, clock, admin, row["id"])
    store.close()
    wait_until(lambda: gateway.post(PATHS[protocol], ask(protocol), {"x-api-key": narrow}).status == 401, 5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a"),
        (b"{", "not a"),
        (b"[1]", "not a"),
        (b'{"messages": []}', "model"),
        (b'{"model": 7}', "model"),
        (b'{"model":"a","model":"b"}', "'model' twice"),
        (b'{"model":"a","mod\\u0065l":"b"}', "'model' twice"),
        (b'{"model":"a","max_tokens":1,"max_tokens":9999}', "'max_tokens' twice"),
        (b'{"model":"a","stream":false,"stream":true}', "'stream' twice"),
        (b'{"model":"a","n":1,"n":50}', "'n' twice"),
        (b'\xff\xfe{"model":"a"}', "not a"),
    ],
)
def test_bodies_that_cannot_be_trusted_get_400(
    gateway: Gateway, upstream: Scripted, protocol: str, body: bytes, message: str
) -> None:
    asked = len(upstream.requests)
    got = gateway.post(PATHS[protocol], body)
    assert got.status == 400
    kind, text = told(protocol, got.body)
    assert kind == "invalid_request_error"
    assert message in text
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.http_status, row.cost_nano_usd) == ("refused", 400, None)
    assert len(upstream.requests) == asked


def test_an_unknown_model_names_the_routes(tmp_path: Path, upstream: Scripted, protocol: str) -> None:
    config = PROVIDERS.format(url=upstream.url)
    config += config.replace("[providers.anthropic]", '[providers.a2]\nprotocol = "anthropic-messages"').replace(
        "[providers.openai]", '[providers.o2]\nprotocol = "openai-chat"'
    )
    with start_gateway(tmp_path, config, KEYS) as gateway:
        got = gateway.post(PATHS[protocol], ask(protocol, model="nobody-knows-it"))
        assert got.status == 404
        kind, text = told(protocol, got.body)
        assert kind == TYPES[protocol][404]
        assert "openai/<model>" in text
        assert upstream.url not in text
        assert gateway.row(got.headers["x-ultimate-call-id"]).status == "refused"


def test_a_wrong_method_is_a_405(gateway: Gateway, protocol: str) -> None:
    got = gateway.request("GET", PATHS[protocol])
    assert got.status == 405
    told(protocol, got.body)


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunked"])
def test_a_body_that_is_too_large_gets_413(
    tmp_path_factory: pytest.TempPathFactory, upstream: Scripted, protocol: str, announced: bool
) -> None:
    config = PROVIDERS.format(url=upstream.url) + "[limits]\nbody_bytes = 2000000\n"
    with start_gateway(tmp_path_factory.mktemp("large"), config, KEYS) as gateway:
        body = b'{"model":"' + b"x" * 5_000_000 + b'"}'
        if announced:
            got = gateway.post(PATHS[protocol], body)
            assert got.status == 413
            answered = got.body
            row = gateway.row(got.headers["x-ultimate-call-id"])
            assert (row.status, row.http_status, row.error_type) == ("refused", 413, "too_large")
        else:
            head = (
                f"POST {PATHS[protocol]} HTTP/1.1\r\nx-api-key: {gateway.key}\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            raw = Raw(gateway.port, head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            seen = raw.until(b"body_bytes")
            raw.close()
            assert seen.startswith(b"HTTP/1.1 413")
            answered = seen.partition(b"\r\n\r\n")[2]
        kind, text = told(protocol, answered)
        assert kind == ("request_too_large" if protocol == "anthropic" else "invalid_request_error")
        assert "2000000" in text
        with gateway.one_row() as rows:
            client = Raw(
                gateway.port,
                f"POST {PATHS[protocol]} HTTP/1.1\r\nx-api-key: {gateway.key}\r\ncontent-length: 5000000\r\n"
                "expect: 100-continue\r\n\r\n".encode(),
            )
            assert client.rest().startswith(b"HTTP/1.1 413"), "whoever asks first is told before it sends"
        assert (rows[0].http_status, rows[0].request_bytes) == (413, 5_000_000)


def test_a_body_that_says_it_is_too_large_is_not_waited_for(gateway: Gateway, protocol: str) -> None:
    size = 40 * 1024 * 1024
    head = f"POST {PATHS[protocol]} HTTP/1.1\r\nx-api-key: {gateway.key}\r\ncontent-length: "
    with gateway.one_row() as rows:
        client = Raw(gateway.port, f"{head}{size}\r\n\r\n".encode())
        first = client.until(b"body_bytes")
        for _ in range(40):  # nobody is cut off who sends it all the same and listens then
            client.socket.sendall(bytes(1024 * 1024))
    seen = client.rest()
    assert first.startswith(b"HTTP/1.1 413")
    assert seen.count(b"HTTP/1.1") == 1
    top, _, body = seen.partition(b"\r\n\r\n")
    assert b"Connection: close" in top
    assert "33554432" in told(protocol, body)[1]
    assert (rows[0].http_status, rows[0].error_type, rows[0].request_bytes) == (413, "too_large", size)
    stranger = Raw(gateway.port, f"{head}{size}\r\n\r\n".replace(gateway.key, "cp_" + "x" * 43).encode())
    assert stranger.until(b"authentication_error").startswith(b"HTTP/1.1 401")
    stranger.close()
    vast = Raw(gateway.port, f"{head}{'9' * 5000}\r\n\r\n".encode())
    assert vast.rest().startswith(b"HTTP/1.1 413")


def test_who_never_sends_what_it_announced_is_let_go(tmp_path: Path, upstream: Scripted) -> None:
    config = PROVIDERS.format(url=upstream.url) + "[limits]\nbody_bytes = 2000\n"
    with start_gateway(tmp_path, config, {**OFTEN, "IDLE_S": "0.3", "LINGER_S": "0.2"}) as gateway:
        head = f"POST {OPENAI} HTTP/1.1\r\nx-api-key: {gateway.key}\r\n"
        refused = Raw(gateway.port, f"{head}content-length: 3000\r\n\r\n".encode())
        began = [
            Raw(gateway.port, f"{head}{framing}\r\n\r\nhel".encode())
            for framing in ("content-length: 1000", "transfer-encoding: chunked\r\n\r\n5")
        ]
        assert refused.rest().startswith(b"HTTP/1.1 413"), "and the connection ended"
        assert [client.rest() for client in began] == [b"", b""]


@pytest.mark.parametrize(
    "body", [b"5 \r\nhello\r\n", b"5\r\nhelloX\r\n", b"0x5\r\nhello\r\n", b"0\r\nX-More: 1\r\n\r\n"]
)
def test_what_is_wrong_with_a_chunk_is_told(gateway: Gateway, protocol: str, body: bytes) -> None:
    head = f"POST {PATHS[protocol]} HTTP/1.1\r\nx-api-key: {gateway.key}\r\ntransfer-encoding: chunked\r\n\r\n"
    answered = Raw(gateway.port, head.encode() + body).rest()
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1") == 1
    kind, text = told(protocol, answered.partition(b"\r\n\r\n")[2])
    assert kind == "invalid_request_error"
    assert "chunk" in text
    assert "Look at the client" in text


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"content-length: 5\r\ncontent-length: 6",
        b"content-length: +5",
        b"transfer-encoding: chunked, gzip",
        b"x-a: 1\r\n content-length: 5",
        b"x-a: 1\rcontent-length: 5",
        b"x a: 1",
        b": 1",
        b"no colon",
        b"x-nul: a\x00b",
    ],
)
def test_framing_that_can_be_read_two_ways_is_refused(gateway: Gateway, upstream: Scripted, head: bytes) -> None:
    asked = len(upstream.requests)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
    assert len(upstream.requests) == asked


def test_headers_beyond_the_limit_are_refused(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nx-a: " + b"y" * 40_000 + b"\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert not client.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_model_name_beyond_reason_is_refused_and_not_recorded(
    gateway: Gateway, upstream: Scripted, protocol: str
) -> None:
    asked = len(upstream.requests)
    got = gateway.post(PATHS[protocol], ask(protocol, model="m" * 100_000))
    assert got.status == 400
    assert len(got.body) < 1000
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.model_requested) == ("refused", "m" * 256)
    assert len(upstream.requests) == asked
    got = gateway.post("/v1/embeddings", {"model": "m" * 100_000, "input": "x"})
    assert got.status == 400

"""Paths: models in both shapes, other paths passed on, unknown ones refused in the client's shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy_server.gateway.surfaces import surface_of
from tests.fakes.scripted import Scripted, answer, stream
from tests.gateway.gateways import KEYS, PROVIDERS, Gateway, start_gateway

ANTHROPIC_CLIENT = {"anthropic-version": "2023-06-01"}
MODELS = """
[models."claude-best"]
deployments = [{ provider = "anthropic", model = "claude-opus-4-1" }]
[models."house"]
deployments = [{ provider = "anthropic", model = "claude-sonnet-4-5" }]
[models."gpt-house"]
deployments = [{ provider = "openai", model = "gpt-4o" }]
"""


def test_models_are_listed_in_the_clients_shape(tmp_path: Path, upstream: Scripted) -> None:
    with start_gateway(tmp_path, PROVIDERS.format(url=upstream.url) + MODELS, KEYS) as gateway:
        told = gateway.request("GET", "/v1/models").json
        assert told["object"] == "list"
        assert [row["id"] for row in told["data"]] == ["gpt-house"]
        assert set(told["data"][0]) == {"id", "object", "created", "owned_by"}
        told = gateway.request("GET", "/v1/models?limit=1000", headers=ANTHROPIC_CLIENT).json
        assert [row["id"] for row in told["data"]] == ["claude-best"]
        assert (told["first_id"], told["last_id"], told["has_more"]) == ("claude-best", "claude-best", False)
        assert gateway.request("GET", "/v1/models/gpt-house").json["id"] == "gpt-house"
        one = gateway.request("GET", "/v1/models/claude-best", headers=ANTHROPIC_CLIENT).json
        assert (one["type"], one["id"]) == ("model", "claude-best")
        assert gateway.request("GET", "/v1/models", headers={"x-api-key": ""}).status == 401
        narrow = {"x-api-key": gateway.key_for_elsewhere(models=["only-this"])}
        assert gateway.request("GET", "/v1/models", headers=narrow).json["data"] == []
        assert gateway.request("GET", "/v1/models/gpt-house", headers=narrow).status == 403
        assert gateway.request("POST", "/v1/models").status == 405


def test_embeddings_are_priced_by_their_input(gateway: Gateway, upstream: Scripted) -> None:
    told = b'{"object":"list","data":[],"model":"text-embedding-3-small","usage":{"prompt_tokens":500}}'
    upstream.script = answer(told)
    got = gateway.post("/v1/embeddings", b'{"model":"openai/text-embedding-3-small","input":"hello"}')
    assert got.body == told
    assert upstream.requests[-1].body == b'{"model":"text-embedding-3-small","input":"hello"}'
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.operation, row.input_tokens, row.usage_source) == ("embeddings", 500, "provider")
    assert row.cost_nano_usd == 500 * 20  # 0.02 USD a million tokens


@pytest.mark.parametrize(
    ("method", "path", "headers", "provider"),
    [
        ("GET", "/v1/files/file-1/content", {}, "openai"),
        ("GET", "/v1/files?limit=3", ANTHROPIC_CLIENT, "anthropic"),
        ("DELETE", "/v1/files/file-1", {}, "openai"),
        ("POST", "/v1/messages/batches", ANTHROPIC_CLIENT, "anthropic"),
        ("GET", "/v1/messages/batches/b-1/results", ANTHROPIC_CLIENT, "anthropic"),
        ("POST", "/v1/batches", {}, "openai"),
        ("GET", "/v1/responses/resp_1", {}, "openai"),
        ("POST", "/v1/audio/transcriptions", {"content-type": "multipart/form-data; boundary=x"}, "openai"),
        ("POST", "/v1/moderations", {"content-type": "application/json"}, "openai"),
        ("HEAD", "/v1/files/file-1", {}, "openai"),
    ],
)
def test_other_paths_pass_to_the_provider_of_the_protocol(  # noqa: PLR0917 - a table
    gateway: Gateway, upstream: Scripted, method: str, path: str, headers: dict[str, str], provider: str
) -> None:
    told = bytes(range(256)) * 700
    upstream.script = answer(b"" if method == "HEAD" else told, kind="application/octet-stream")
    sent = b"--x\r\nanything \x00\xff\r\n--x--" if method == "POST" else None
    got = gateway.request(method, path, sent, headers)
    assert got.status == 200
    assert got.body == (b"" if method == "HEAD" else told)
    request = upstream.requests[-1]
    assert (request.method, request.path, request.body) == (method, path, sent or b"")
    key = request.header("x-api-key") or request.header("authorization")
    assert key == ("sk-ant-provider" if provider == "anthropic" else "Bearer sk-openai-provider")
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.provider, row.operation, row.status) == (provider, "other", "ok")
    assert (row.cost_nano_usd, row.usage_source) == (None, "none")
    assert row.endpoint == path.partition("?")[0]
    assert gateway.request(method, path, sent, {**headers, "x-api-key": ""}).status == 401


def test_an_event_stream_of_another_path_passes_without_delay(gateway: Gateway, upstream: Scripted) -> None:
    pieces = [b"event: response.created\ndata: {}\n\n", b"event: response.completed\ndata: {}\n\n"]
    upstream.script = stream(pieces, pause_s=0.05)
    got = gateway.post("/v1/responses", b'{"model":"openai/gpt-4o","stream":true}')
    assert got.body == b"".join(pieces)
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.stream, row.model_requested, row.model_routed) == (True, "openai/gpt-4o", "gpt-4o")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/messages/x", "/v1/", "/v1/files/../x", "/v1/chat"])
def test_an_unknown_path_is_a_404_in_the_clients_shape(gateway: Gateway, upstream: Scripted, path: str) -> None:
    asked = len(upstream.requests)
    got = gateway.request("GET", path)
    assert (got.status, got.headers["content-type"]) == (404, "application/json")
    assert "error" in got.json
    got = gateway.request("GET", path, headers=ANTHROPIC_CLIENT)
    assert got.json["type"] == "error"
    assert len(upstream.requests) == asked


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../../admin", "/v1/files/..", "/v1/files/./x", "/v1/files//x", "/v1/files/%2e%2e/x",
        "/v1/files/%2E%2E", "/v1/files/a%2fb", "/v1/files/a%5Cb", "/v1/files/a\\b", "/v1//files", "/v1/files/a#b",
        "/v1/files/a b", "/v1/files/%", "/v1/FILES/a", "/v1/filesystem",
    ],
)  # fmt: skip
def test_no_path_leaves_its_providers_base_address(path: str) -> None:
    assert surface_of(path, anthropic=False) is None


def test_health_needs_no_key(gateway: Gateway) -> None:
    for path in ("/health", "/healthz"):
        assert gateway.request("GET", path, headers={"x-api-key": ""}).json == {"status": "ok"}
    got = gateway.request("HEAD", "/", headers={"x-api-key": ""})
    assert (got.status, got.body) == (200, b"")

"""What a key says of its calls: models by their beginning, defaults, and what it locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from proxy_server.gateway.headers import RequestHeaders
from tests.fakes.scripted import Scripted
from tests.gateway.gateways import ANTHROPIC, CLAUDE, Gateway, start_gateway
from tests.gateway.test_refusals import ask
from tests.store.ready import ready_store
from ultimate_lib.access import provider_keys
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.access.keys import create_key
from ultimate_lib.access.principal import Principal
from ultimate_lib.clock import SystemClock
from ultimate_lib.providers import offered
from ultimate_lib.records import CallRecord
from ultimate_lib.sealed import MasterKey
from ultimate_lib.settings import load
from ultimate_lib.store import Store


def filled(locked: set[str], tags: tuple[str, ...], **headers: str) -> CallRecord:
    told = RequestHeaders(HTTPHeaders({f"X-Ultimate-{name}": value for name, value in headers.items()}))
    record = CallRecord(call_id="c", started_at=0, source="proxy", operation="chat", project="alpha", app="cli")
    who = Principal(
        user_id="u", user_name="u", permissions=frozenset(), tags=tags, locked=frozenset(locked), project="alpha"
    )
    told.fill(record, who)
    return record


def test_a_call_changes_what_its_key_does_not_lock() -> None:
    told = {"Project": "beta", "App": "web", "Tags": "env=dev,run=1"}
    free = filled(set(), ("env=prod", "who=ada"), **told)
    assert (free.project, free.app) == ("beta", "web")
    assert set(free.tags or ()) == {"env=dev", "run=1", "who=ada"}
    fixed = filled({"project", "tags"}, ("env=prod", "who=ada"), **told)
    assert (fixed.project, fixed.app) == ("alpha", "web")
    assert set(fixed.tags or ()) == {"env=prod", "run=1", "who=ada"}


@pytest.mark.parametrize(("models", "status"), [(["claude-*"], 200), (["claude-opus-*", "gpt-*"], 403), (["*"], 200)])
def test_a_key_calls_models_that_begin_as_it_says(
    gateway: Gateway, upstream: Scripted, models: list[str], status: int
) -> None:
    store = Store(load(environ={}, overrides={"data.folder": str(gateway.folder)}).store_url)
    admin = KeyCache(store, SystemClock()).lookup(gateway.key)
    assert admin is not None
    told: dict[str, Any] = {"project": "alpha", "locked": ["project"], "tags": ["env=prod"]}
    token, row = create_key(store, SystemClock(), admin, name="narrow", models=models, **told)
    store.close()
    body = {**ask("anthropic"), "model": CLAUDE}
    got = gateway.post(ANTHROPIC, body, {"x-api-key": token, "x-ultimate-project": "beta"})
    assert got.status == status, got.body
    line = gateway.row(got.headers["x-ultimate-call-id"])
    assert (line.key_id, line.project, line.tags) == (row["id"], "alpha", ["env=prod"])


def test_a_tier_may_name_what_an_entered_key_alone_can_serve(tmp_path: Path) -> None:
    settings = load(environ={}, overrides={"data.folder": str(tmp_path / "data")})
    store = ready_store(settings.store_url)
    admin = Principal(user_id="u", user_name="u", permissions=frozenset())
    anthropic = offered(settings)["anthropic"]
    provider_keys.put(store, SystemClock(), MasterKey.load(settings), admin, anthropic, "sk-ant-entered")
    store.close()
    config = "[tiers]\nbig = 'newer-than-the-price-list'\n[providers.vllm]\n[providers.ollama]\n"
    with start_gateway(tmp_path, config) as gateway:
        assert gateway.request("GET", "/health").status == 200

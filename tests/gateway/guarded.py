"""What tests of the guard share: what is usual, written as the worker writes it, and a provider's costs on demand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy_server.worker.baselines import Learning
from tests.gateway.gateways import GPT, OPENAI, Answer, Gateway, ask
from tests.gateway.limited import open_store
from tests.harness import wait_until
from ultimate_lib import baseline
from ultimate_lib.access import cooldowns, keys
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.clock import SystemClock
from ultimate_lib.guard import known
from ultimate_lib.guard.known import WEEK_H, Known, Rate
from ultimate_lib.lake import Lake
from ultimate_lib.settings import load

CLOCK = SystemClock()
USUAL_OUTPUT, RUNAWAY_OUTPUT = 100, 1_000_000  # $0.000063 and $0.60 at gpt-4o-mini's price
DAY_US = 86_400_000_000


def completion(output: int, prompt: int = 20) -> bytes:
    return json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "model": GPT,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
    }).encode()  # fmt: skip


def usual(key_id: str, *, model: str = GPT, cost: float = 63e-6, tokens: float = 20, ripe: bool = True) -> Known:
    """Return what is known of a key and model whose calls cost about so much."""
    now = CLOCK.now_us()
    spread = [math.exp(math.sin(step * 1.7)) for step in range(600)]  # by factors of e both ways
    costs = baseline.learn([cost * one for one in spread], now / 1e6)
    inputs = baseline.learn([tokens * one for one in spread], now / 1e6)
    assert costs is not None
    assert inputs is not None
    return Known(
        key_id=key_id, model=model, calls=600, first_us=now - 30 * DAY_US, last_us=now,
        enough_us=now - 2 * DAY_US,
        ripe_us=now - DAY_US if ripe else None, cost=costs, usual_usd=baseline.expected_high(costs),
        tokens=inputs, usual_tokens=baseline.expected_high(inputs),
    )  # fmt: skip


def teach(folder: Path, *rows: Known, rates: Sequence[Rate] = ()) -> int:
    """Write what the worker would have learnt, and return when it was made."""
    made_us = CLOCK.now_us()
    known.write(folder / "run", known.About(made_us=made_us, after_days=14, after_calls=500), rows, rates)
    return made_us


def rate(key_id: str, *, minute: float | None = None, day: float | None = None, ripe: bool = True) -> Rate:
    """Return how quickly a key usually spends."""
    ripe_us = CLOCK.now_us() - DAY_US if ripe else None
    return Rate(key_id=key_id, usual_usd=(minute, None, day), shares=[1.0] * WEEK_H, ripe_us=ripe_us)


def taught(gateway: Gateway, *rows: Known, rates: Sequence[Rate] = ()) -> None:
    """Write it, and wait until the gateway goes by it."""
    made_us = teach(gateway.folder, *rows, rates=rates)
    wait_until(lambda: gateway.told().get("baselines_us") == made_us, 8)


def make_key(
    folder: Path, owner: str, *, guard: str | None = "block", scopes: tuple[str, ...] = ("proxy:call",)
) -> Any:
    """Make a key with the owner's rights; return (its secret, its id)."""
    with open_store(folder) as store:
        admin = KeyCache(store, CLOCK).lookup(owner)
        assert admin is not None
        secret, row = keys.create_key(store, CLOCK, admin, name="agent", scopes=scopes, guard=guard)
    return secret, row["id"]


def set_guard(folder: Path, owner: str, key_id: str, action: str | None) -> None:
    with open_store(folder) as store:
        admin = KeyCache(store, CLOCK).lookup(owner)
        assert admin is not None
        keys.set_guard(store, CLOCK, admin, key_id, action)


def end(gateway: Gateway, key_id: str, model: str = GPT) -> None:
    """End a cool-down as an administrator does."""
    settings = load(environ={}, overrides={"data.folder": str(gateway.folder)})
    with open_store(gateway.folder) as store:
        admin = KeyCache(store, CLOCK).lookup(gateway.key)
        assert admin is not None
        cooldowns.end(store, CLOCK, settings, admin, cooldowns.id_of(key_id, model))


def accept(gateway: Gateway, key_id: str, model: str = GPT) -> None:
    """Accept a key's calls as usual, as an administrator does."""
    settings = load(environ={}, overrides={"data.folder": str(gateway.folder)})
    with open_store(gateway.folder) as store:
        admin = KeyCache(store, CLOCK).lookup(gateway.key)
        assert admin is not None
        cooldowns.accept(store, CLOCK, settings, admin, key_id, model)


def learn(gateway: Gateway) -> None:
    """Learn as the worker does, and wait until the gateway goes by it."""
    settings = load(environ={}, overrides={"data.folder": str(gateway.folder)})
    assert Learning(settings)(Lake.open(settings, CLOCK))["learnt"]
    learnt = known.read(settings.run_dir)
    assert learnt is not None
    wait_until(lambda: gateway.told().get("baselines_us") == learnt.about.made_us, 8)


def send(gateway: Gateway, secret: str, headers: dict[str, str] | None = None, **members: Any) -> Answer:
    return gateway.post(OPENAI, ask("openai", **members), {"x-api-key": secret, **(headers or {})})

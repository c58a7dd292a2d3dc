"""One call over REST: unlike those before it or not, for whom, and what is said when it cannot be said."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.calm import HOUR, Calm
from tests.control import alone, calls
from tests.control.calls import call
from ultimate_lib.baseline import expected_high, learn, score
from ultimate_lib.clock import to_us
from ultimate_lib.guard import known
from ultimate_lib.guard.events import Event, EventLog
from ultimate_lib.guard.known import About, Known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.control.alone import Alone, Reply

AT = Calm(HOUR)
MODEL = "claude-sonnet-4-5"
PATH = "/api/predictive/detect-anomaly"
DICE = random.Random(5)
COSTS = [round(DICE.lognormvariate(16, 0.5)) for _ in range(300)]  # nano-dollars, about a cent
INPUTS = [round(DICE.lognormvariate(7, 0.5)) for _ in range(300)]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("detect")) as running:
        told = {"model_routed": MODEL, "user_id": "user_ann", "key_id": "key_gone", "provider": "anthropic"}
        made = [
            call(AT.now - timedelta(hours=number + 1), **told, cost_nano_usd=cost, input_tokens=sent)
            for number, (cost, sent) in enumerate(zip(COSTS, INPUTS, strict=True))
        ]
        made += [call(AT.now - timedelta(hours=1), **{**told, "model_routed": "gpt-4o"}) for _ in range(12)]
        calls.write(running.bench.settings, *made)
        yield running


def ask(control: Alone, told: Mapping[str, Any], key: str | None = None) -> Reply:
    return control.ask("POST", PATH, key=key or control.key, told={"model": MODEL, "key_id": "key_gone", **told})


def judged(control: Alone, **told: Any) -> dict[str, Any]:
    reply = ask(control, told)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def test_a_call_is_judged_as_the_guard_scores_it(control: Alone) -> None:
    told = judged(control, cost_usd=1.5)
    usual = learn([one / 1e9 for one in COSTS], since_s=0.0)
    assert usual is not None
    assert (told["is_anomaly"], told["action"], told["mode"], told["measure"]) == (
        True,
        "none",
        "observe",
        "cost_usd",
    )
    assert told["score"] == pytest.approx(score(usual, 1.5), rel=0.02)
    assert told["expected_high"] == pytest.approx(expected_high(usual), rel=0.02)
    assert (told["value"], told["limit"], told["baseline_calls"], told["baseline_source"]) == (1.5, 3.5, 300, "lake")
    assert "$1.50" in told["reason"]
    assert "14 days and 500 calls" in told["reason"]
    plain = judged(control, cost_usd=0.01)
    assert (plain["is_anomaly"], plain["action"]) == (False, "none")
    assert "not unusual" in plain["reason"]


def test_tokens_give_the_cost_and_input_alone_is_judged_as_at_the_door(control: Alone) -> None:
    both = judged(control, input_tokens=1000, output_tokens=64_000)
    assert both["cost_usd"] == pytest.approx((1000 * 3 + 64_000 * 15) / 1e6)
    assert (both["is_anomaly"], both["measure"]) == (True, "cost_usd")
    alone_ = judged(control, input_tokens=180_000)
    assert (alone_["is_anomaly"], alone_["measure"], alone_["cost_usd"]) == (True, "input_tokens", None)
    assert judged(control, input_tokens=1000)["is_anomaly"] is False
    assert judged(control, cost_usd=0)["score"] == 0


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        ({}, 400, "neither a cost nor input tokens"),
        ({"output_tokens": 5}, 400, "neither a cost nor input tokens"),
        ({"cost_usd": -1}, 400, "cost_usd"),
        ({"cost_usd": "1"}, 400, "cost_usd"),
        ({"cost_usd": 1e300}, 400, "cost_usd"),
        ({"input_tokens": -1}, 400, "input_tokens"),
        ({"input_tokens": 1.5}, 400, "input_tokens"),
        ({"model": ""}, 400, "model"),
        ({"tokens": 5}, 400, "tokens"),
        ({"cost_usd": 1, "model": "nonsense-9"}, 404, "no model 'nonsense-9'"),
        ({"cost_usd": 1, "key_id": "key_other", "model": "nonsense-9"}, 404, "has called: none"),
        ({"input_tokens": 5, "output_tokens": 5, "provider": "nobody"}, 400, "of 'nobody'"),
        ({"cost_usd": 1, "model": "gpt-4o"}, 422, "12 calls with a known cost"),
        ({"cost_usd": 1, "model": "claude-haiku-4-5"}, 422, "0 calls of this key and model"),
    ],
)
def test_what_cannot_be_judged_is_said(control: Alone, told: dict[str, Any], status: int, words: str) -> None:
    reply = ask(control, told)
    assert (reply.status, words in reply.text) == (status, True), reply.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(control: Alone, number: str) -> None:
    body = f'{{"model": "{MODEL}", "key_id": "key_gone", "cost_usd": {number}}}'
    reply = control.ask("POST", PATH, key=control.key, body=body, headers={"Content-Type": "application/json"})
    assert reply.status == 400, reply.text


def test_another_key_is_told_of_to_nobody_who_may_not_see_its_calls(control: Alone) -> None:
    bob = control.add_user("bob", "api_user")
    for key_id in ("key_gone", "key_never"):
        reply = ask(control, {"cost_usd": 1, "key_id": key_id}, key=bob)
        assert (reply.status, reply.json["error"]["code"]) == (404, "key_unknown"), reply.text
    own = control.ask("POST", PATH, key=bob, told={"model": MODEL, "cost_usd": 1})
    assert (own.status, "0 calls" in own.text) == (422, True), own.text
    assert control.ask("POST", PATH, told={"model": MODEL, "cost_usd": 1}).status == 401


def test_the_guards_own_file_and_log_decide_where_they_are(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"guard.action": "block"}) as control:
        usual = learn([one / 1e9 for one in COSTS], since_s=0.0)
        assert usual is not None
        now_us = to_us(AT.now)
        row = Known(
            key_id="key_gone", model=MODEL, calls=300, first_us=0, last_us=now_us, enough_us=1, ripe_us=1, cost=usual,
            usual_usd=expected_high(usual), tokens=None, usual_tokens=None,
        )  # fmt: skip
        run_dir = control.bench.settings.run_dir
        known.write(run_dir, About(made_us=now_us, after_days=14, after_calls=500), [row])
        first = judged(control, cost_usd=5.0)
        assert (first["action"], first["baseline_source"]) == ("warn", "guard")
        log = EventLog(run_dir)
        for number in (1, 2):
            log.append(Event(key_id="key_gone", model=MODEL, at_us=now_us, call_id=f"c{number}", started_us=now_us))
        assert judged(control, cost_usd=5.0)["action"] == "block"
        log.append(Event(key_id="key_gone", model=MODEL, at_us=now_us, call_id="c3", started_us=now_us))
        assert "cool-down" in judged(control, cost_usd=0.01)["reason"]
        known.path(run_dir).write_text("torn")
        assert ask(control, {"cost_usd": 1}).status == 500


def test_the_seeds_name_asks_the_same(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultimate_lib import anomaly_detector

    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://{control.host}")
    monkeypatch.setenv("CLAUDE_PROXY_API_KEY", control.key)
    request: dict[str, Any] = {"model": MODEL, "key_id": "key_gone", "cost": 1.5}
    assert anomaly_detector.check_request(request).is_anomaly
    body = {"model": MODEL, "key_id": "key_gone", "messages": [{"role": "user", "content": "word " * 200_000}]}
    told = anomaly_detector.check_request(body)
    assert (told.is_anomaly, told.measure) == (True, "input_tokens")
    assert not anomaly_detector.check_request(
        {**body, "messages": [{"role": "user", "content": "word " * 500}]}
    ).is_anomaly
    with pytest.raises(Exception, match="names no model"):
        anomaly_detector.check_request({"cost": 1})


def test_importing_the_library_loads_nothing_heavy() -> None:
    heavy = "requests", "polars", "numpy", "msgspec", "claude_proxy"
    code = f"import sys, ultimate_lib; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

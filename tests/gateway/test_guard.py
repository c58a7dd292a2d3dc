"""The guard through real sockets: who is refused, from when to when, what a refusal says, what outlives a kill."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anthropic
import openai
import pytest

from tests.control.calls import call
from tests.fakes.scripted import Connection, Scripted, answer, chunk, head, stream
from tests.gateway.gateways import GPT, OFTEN, OPENAI, PROVIDERS, Gateway, Raw, ask, start_gateway
from tests.gateway.guarded import (
    RUNAWAY_OUTPUT,
    USUAL_OUTPUT,
    accept,
    completion,
    end,
    learn,
    make_key,
    rate,
    send,
    set_guard,
    taught,
    teach,
    usual,
)
from tests.gateway.limited import USD, make_budget, make_rate, noticed, stored_state, told_state
from tests.harness import wait_until
from ultimate_lib.baseline import ANOMALOUS
from ultimate_lib.clock import SystemClock
from ultimate_lib.guard import known
from ultimate_lib.lake import Lake, delta, schema
from ultimate_lib.settings import load

Start = Callable[..., Gateway]


@pytest.fixture
def start(tmp_path: Path, upstream: Scripted) -> Iterator[Start]:
    """Start a gateway over this test's folder, again and again; `guard` are settings of its section."""
    running: list[object] = []

    def begin(guard: str = "cooldown_minutes = 30") -> Gateway:
        config = f"[guard]\n{guard}\n{PROVIDERS.format(url=upstream.url)}"
        context = start_gateway(tmp_path, config, OFTEN)
        running.append(context)
        return context.__enter__()

    upstream.requests.clear()
    yield begin
    for context in running:
        context.__exit__(None, None, None)  # type: ignore[attr-defined] # a context manager


def cost(upstream: Scripted, output: int) -> None:
    upstream.script = answer(completion(output))


def streamed(output: int) -> list[bytes]:
    first = {"id": "c", "object": "chat.completion.chunk", "model": GPT,
             "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}  # fmt: skip
    last = {**first, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {**first, "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": output, "total_tokens": 0}}
    return [f"data: {json.dumps(one)}\n\n".encode() for one in (first, last, usage)] + [b"data: [DONE]\n\n"]


@pytest.mark.parametrize("streams", [False, True])
def test_a_runaway_is_refused_from_the_fourth_call_on_and_nobody_else(
    start: Start, upstream: Scripted, streams: bool
) -> None:
    gateway = start("cooldown_minutes = 0.05")
    runaway, runaway_id = make_key(gateway.folder, gateway.key)
    other, other_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(runaway_id), usual(other_id), usual(runaway_id, model="gpt-4o"))

    def script(output: int) -> None:
        upstream.script = stream(streamed(output)) if streams else answer(completion(output))

    script(USUAL_OUTPUT)
    assert send(gateway, runaway, stream=streams).status == 200
    script(RUNAWAY_OUTPUT)
    assert [send(gateway, runaway, stream=streams).status for _ in range(3)] == [200, 200, 200]
    sent = len(upstream.requests)
    refused = send(gateway, runaway, stream=streams)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 4
    assert refused.json["error"]["code"] == "guard_blocked"
    for part in ("$0.60", "usual is at most $0.00", "refused until 20", "override", "settings:manage"):
        assert part in refused.json["error"]["message"]
    assert len(upstream.requests) == sent, "it went to the provider"
    assert send(gateway, other, stream=streams).status == 200
    assert send(gateway, runaway, model="gpt-4o", stream=streams).status == 200
    wait_until(lambda: send(gateway, runaway, stream=streams).status == 200, 8)  # the cool-down is over
    rows = sorted((row for row in gateway.rows() if row.key_id == runaway_id), key=lambda row: row.started_at)
    assert [(row.status, row.anomaly_action) for row in rows[:5]] == [
        ("ok", "none"), ("ok", "warn"), ("ok", "warn"), ("ok", "warn"), ("blocked", "block"),
    ]  # fmt: skip
    assert (rows[0].anomaly_score or 0) < ANOMALOUS <= min(row.anomaly_score or 0 for row in rows[1:4])
    assert rows[4].error_type == "guard_blocked"
    assert rows[4].cost_nano_usd is None
    assert rows[4].anomaly_score is None
    assert rows[4].http_status == 429


def test_the_clients_raise_their_rate_limit_error_at_once_where_waiting_does_not_help(
    start: Start, upstream: Scripted, protocol: str
) -> None:
    gateway = start("max_input_tokens = 10")
    prompt = "words " * 100
    if protocol == "anthropic":
        with (
            anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key) as client,
            pytest.raises(anthropic.RateLimitError, match=r"guard\.max_input_tokens") as caught,
        ):
            client.messages.create(
                model="claude-haiku-4-5", max_tokens=10, messages=[{"role": "user", "content": prompt}]
            )
    else:
        with (
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as other,
            pytest.raises(openai.RateLimitError, match=r"guard\.max_input_tokens") as caught,  # type: ignore[assignment] # the other's
        ):
            other.chat.completions.create(model=GPT, messages=[{"role": "user", "content": prompt}])
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers, "waiting does not help"
    assert [row.status for row in gateway.rows()] == ["blocked"], "it was tried again"
    assert not upstream.requests


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_cool_down_and_what_led_to_it_outlive_the_process(start: Start, upstream: Scripted, sign: int) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id))
    cost(upstream, RUNAWAY_OUTPUT)
    for calls, status in ((2, 200), (1, 200)):
        assert [send(gateway, secret).status for _ in range(calls)] == [status] * calls
        os.kill(gateway.pid, sign)
        gateway.process.wait(15)
        gateway = start()
    assert send(gateway, secret).status == 429  # two before, one after the first start
    assert len(upstream.requests) == 3


def test_two_gateways_share_what_they_have_seen(start: Start, upstream: Scripted) -> None:
    one, two = start(), start()
    secret, key_id = make_key(one.folder, one.key)
    taught(one, usual(key_id))
    wait_until(lambda: two.told().get("baselines_us") == one.told().get("baselines_us"), 8)
    cost(upstream, RUNAWAY_OUTPUT)
    assert [send(one, secret).status for _ in range(2)] == [200, 200]
    two.wait_for_beats(8)  # it looks at each of them
    assert send(two, secret).status == 200
    assert send(two, secret).status == 429
    wait_until(lambda: send(one, secret).status == 429, 8)


def test_an_override_is_for_those_who_manage_settings(start: Start, upstream: Scripted) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key)
    admin, admin_id = make_key(gateway.folder, gateway.key, scopes=("proxy:call", "settings:manage"))
    taught(gateway, usual(key_id), usual(admin_id))
    cost(upstream, RUNAWAY_OUTPUT)
    for one in (secret, admin):
        assert [send(gateway, one).status for _ in range(3)] == [200] * 3
    override = {"x-ultimate-guard": "override"}
    refused = send(gateway, secret, override)
    assert refused.status == 429
    assert "lacks settings:manage" in refused.json["error"]["message"]
    assert send(gateway, admin).status == 429
    assert send(gateway, admin, override).status == 200
    assert "x-ultimate-guard" not in dict(upstream.requests[-1].headers)
    last = max((row for row in gateway.rows() if row.key_id == admin_id), key=lambda row: row.started_at)
    assert (last.status, last.anomaly_action) == ("ok", "block")


def test_observing_blocks_nothing_and_marks_what_it_would_have(start: Start, upstream: Scripted) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key, guard=None)
    taught(gateway, usual(key_id))
    cost(upstream, RUNAWAY_OUTPUT)
    answers = [send(gateway, secret) for _ in range(5)]
    assert [one.status for one in answers] == [200] * 5
    assert not any("x-ultimate-anomaly" in one.headers for one in answers)
    rows = sorted(gateway.rows(), key=lambda row: row.started_at)
    assert [row.anomaly_action for row in rows] == ["warn"] * 3 + ["block"] * 2
    set_guard(gateway.folder, gateway.key, key_id, "block")  # it holds at once: a cool-down is under way
    wait_until(lambda: send(gateway, secret).status == 429, 8)


def test_a_warning_is_a_header_and_nothing_more(start: Start, upstream: Scripted) -> None:
    gateway = start('action = "warn"')
    secret, key_id = make_key(gateway.folder, gateway.key, guard=None)
    taught(gateway, usual(key_id))
    cost(upstream, USUAL_OUTPUT)
    assert "x-ultimate-anomaly" not in send(gateway, secret).headers
    cost(upstream, RUNAWAY_OUTPUT)
    told_of = [send(gateway, secret) for _ in range(4)]
    assert [one.status for one in told_of] == [200] * 4
    assert all(one.headers["x-ultimate-anomaly"].startswith("cost $0.60") for one in told_of[:3])
    assert told_of[3].headers["x-ultimate-anomaly"].startswith("cool-down until 20")


def test_what_is_not_known_well_enough_or_costs_little_blocks_nothing(start: Start, upstream: Scripted) -> None:
    gateway = start("floor_usd = 0.7")
    young, young_id = make_key(gateway.folder, gateway.key)
    cheap, cheap_id = make_key(gateway.folder, gateway.key)
    unknown, _ = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(young_id, ripe=False), usual(cheap_id))
    cost(upstream, RUNAWAY_OUTPUT)
    for secret in (cheap, unknown):
        assert [send(gateway, secret).status for _ in range(5)] == [200] * 5
    cost(upstream, 2 * RUNAWAY_OUTPUT)
    assert [send(gateway, young).status for _ in range(5)] == [200] * 5
    by_key = {row.key_id: row for row in gateway.rows()}
    assert by_key[young_id].anomaly_action == by_key[cheap_id].anomaly_action == "warn"
    assert [row.anomaly_score for row in gateway.rows() if row.key_id not in {young_id, cheap_id}] == [None] * 5
    assert not (gateway.folder / "run" / "guard.log").exists()


def test_calls_without_a_price_have_no_score(start: Start, upstream: Scripted) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id, model="nobody-sells-this"))
    cost(upstream, RUNAWAY_OUTPUT)
    body = completion(RUNAWAY_OUTPUT).replace(GPT.encode(), b"nobody-sells-this")
    upstream.script = answer(body)
    assert send(gateway, secret, model="nobody-sells-this").status == 200
    (row,) = gateway.rows()
    assert row.cost_nano_usd is None
    assert (row.anomaly_score, row.anomaly_action) == (None, None)


def test_calls_that_are_cut_count(start: Start, upstream: Scripted) -> None:
    """A client that hangs up before the end does not get past the guard."""
    gateway = start("floor_usd = 0")
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id, cost=1e-7))
    piece = streamed(1)[0].replace(b'"x"', b'"' + b"words and more " * 40_000 + b'"')
    upstream.script = stream([piece, *[b": wait\n\n"] * 100], pause_s=0.05)
    for _ in range(3):
        with gateway.one_row():
            body = json.dumps(ask("openai", stream=True)).encode()
            head = f"POST {OPENAI} HTTP/1.1\r\nHost: x\r\nx-api-key: {secret}\r\ncontent-length: {len(body)}\r\n\r\n"
            raw = Raw(gateway.port, head.encode() + body)
            raw.until(b"words")
            raw.close()
    assert send(gateway, secret).status == 429


def test_an_input_unlike_any_before_is_refused_at_the_door(start: Start, upstream: Scripted) -> None:
    gateway = start("floor_usd = 0.001")
    secret, key_id = make_key(gateway.folder, gateway.key)
    other, other_id = make_key(gateway.folder, gateway.key, guard="observe")
    small, small_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id), usual(other_id), usual(small_id))
    cost(upstream, USUAL_OUTPUT)
    large = {"messages": [{"role": "user", "content": "many words " * 20_000}]}
    refused = send(gateway, secret, **large)
    assert refused.status == 429
    assert "usual for its key and model is at most" in refused.json["error"]["message"]
    assert "less input" in refused.json["error"]["message"]
    assert send(gateway, secret).status == 200
    assert send(gateway, other, **large).status == 200
    assert (
        send(gateway, small, messages=[{"role": "user", "content": "word " * 2_000}]).status == 200
    )  # below the floor
    actions = {(row.key_id, row.status): row.anomaly_action for row in gateway.rows()}
    assert actions[key_id, "blocked"] == actions[other_id, "ok"] == "block"


def test_caps_hold_at_once_whatever_the_action(start: Start, upstream: Scripted) -> None:
    gateway = start("max_call_usd = 0.01\nmax_usd_per_hour = 0.5")
    cost(upstream, USUAL_OUTPUT)
    dear = send(gateway, gateway.key, max_tokens=16_000, n=10)
    assert dear.status == 429
    assert "guard.max_call_usd" in dear.json["error"]["message"]
    assert "at most $0.0100" in dear.json["error"]["message"]
    assert "change guard.max_call_usd in the settings" in dear.json["error"]["message"]
    assert "ends the cool-down" not in dear.json["error"]["message"]
    for odd in ({"max_tokens": 10**18}, {"max_tokens": 100, "n": "1000"}):
        unread = send(gateway, gateway.key, **odd)
        assert unread.status == 429
        assert "a maximum in it is no number" in unread.json["error"]["message"]
    unpriced = send(gateway, gateway.key, model="nobody-sells-this")
    assert unpriced.status == 429
    assert "price of 'nobody-sells-this' is not known" in unpriced.json["error"]["message"]
    assert send(gateway, gateway.key, max_tokens=100).status == 200
    cost(upstream, RUNAWAY_OUTPUT)
    assert send(gateway, gateway.key, max_tokens=100).status == 200
    spent = send(gateway, gateway.key, max_tokens=100)
    assert spent.status == 429
    assert "guard.max_usd_per_hour" in spent.json["error"]["message"]
    assert 3600 < int(spent.headers["retry-after"]) <= 3900, "what it has spent rolls off in an hour"
    assert spent.headers["x-should-retry"] == "false", "clients would try again at once, for that is too long"
    other, _ = make_key(gateway.folder, gateway.key, guard=None)
    assert send(gateway, other, max_tokens=100).status == 200


def test_calls_on_a_subscription_cost_nothing(tmp_path: Path, upstream: Scripted) -> None:
    providers = PROVIDERS.replace("[providers.openai]", '[providers.openai]\nbilling = "subscription"')
    config = f"[guard]\nmax_usd_per_hour = 1\nmax_call_usd = 0.01\n{providers.format(url=upstream.url)}"
    with start_gateway(tmp_path, config, OFTEN) as gateway:
        secret, key_id = make_key(gateway.folder, gateway.key)
        taught(gateway, usual(key_id), rates=[rate(key_id, day=1.0)])
        cost(upstream, RUNAWAY_OUTPUT)
        assert [send(gateway, secret, max_tokens=16_000, n=10).status for _ in range(5)] == [200] * 5
        assert {(row.billing, row.anomaly_score, row.anomaly_action) for row in gateway.rows()} == {
            ("subscription", None, None)
        }


def test_what_does_not_bill_is_never_refused(start: Start, upstream: Scripted) -> None:
    gateway = start("floor_usd = 0\nblock_spend_rate = true")
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id), rates=[rate(key_id, day=1.0)])
    cost(upstream, 2 * RUNAWAY_OUTPUT)
    assert [send(gateway, secret).status for _ in range(2)] == [200, 429]
    for method, path in (
        ("GET", "/v1/batches/b1"),
        ("POST", "/v1/batches/b1/cancel"),
        ("GET", "/v1/files/f1/content"),
    ):
        assert gateway.request(method, path, b"", {"x-api-key": secret}).status == 200, path


def test_a_guard_that_is_off_does_nothing(start: Start, upstream: Scripted) -> None:
    gateway = start("enabled = false\nmax_input_tokens = 1")
    secret, key_id = make_key(gateway.folder, gateway.key)
    teach(gateway.folder, usual(key_id))
    cost(upstream, RUNAWAY_OUTPUT)
    assert [send(gateway, secret).status for _ in range(4)] == [200] * 4
    assert {row.anomaly_score for row in gateway.rows()} == {None}


@pytest.mark.parametrize("bad", [b"", b"\x00\xff not json", b'{"format":"another"}\n[]\n', "half"])
def test_a_torn_or_foreign_file_leaves_the_last_good_one_in_force(
    start: Start, upstream: Scripted, bad: bytes | str
) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id))
    path = known.path(gateway.folder / "run")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if isinstance(bad, str) else bad)
    wait_until(lambda: gateway.told().get("guard_failure") == "baselines", 8)
    cost(upstream, RUNAWAY_OUTPUT)
    assert [send(gateway, secret).status for _ in range(4)] == [200, 200, 200, 429]
    gateway.wait_for_beats(5)
    assert (gateway.folder.parent / "gateway.log").read_text().count("baselines.jsonl of the run folder") == 1
    path.write_bytes(whole)
    wait_until(lambda: gateway.told().get("guard_failure") is None, 8)


def test_a_log_with_foreign_lines_still_tells_the_others(start: Start, upstream: Scripted) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id))
    cost(upstream, RUNAWAY_OUTPUT)
    assert [send(gateway, secret).status for _ in range(2)] == [200, 200]
    with (gateway.folder / "run" / "guard.log").open("ab") as file:
        file.write(b"\x00garbage\n{half a li")
    assert send(gateway, secret).status == 200
    wait_until(lambda: gateway.told().get("guard_failure") == "guard_log", 8)
    gateway = start()
    assert send(gateway, secret).status == 429


def test_a_key_that_spends_too_quickly_is_told_and_never_refused_unless_that_is_asked_for(
    start: Start, upstream: Scripted
) -> None:
    gateway = start()
    secret, key_id = make_key(gateway.folder, gateway.key)
    watched, watched_id = make_key(gateway.folder, gateway.key, guard="observe")
    taught(gateway, usual(key_id, cost=0.6), rates=[rate(key_id, minute=1.0), rate(watched_id, minute=1.0)])
    cost(upstream, RUNAWAY_OUTPUT)  # $0.60
    answers = [send(gateway, secret) for _ in range(4)]
    assert [one.status for one in answers] == [200] * 4
    warnings = [one.headers.get("x-ultimate-anomaly") for one in answers]
    assert warnings[:2] == [None, None]
    assert str(warnings[2]).startswith("$1.20 spent in the last minute, usual at most $1.00")
    assert not any("x-ultimate-anomaly" in send(gateway, watched).headers for _ in range(3))
    rows = sorted(gateway.rows(), key=lambda row: row.started_at)
    assert [row.anomaly_action for row in rows if row.key_id == key_id] == ["none", "none", "warn", "warn"]
    assert [row.anomaly_action for row in rows if row.key_id == watched_id] == [None, None, "warn"]


def test_a_key_that_spends_too_quickly_for_its_hour_is_refused_until_that_rolls_off(
    start: Start, upstream: Scripted
) -> None:
    gateway = start("block_spend_rate = true")
    secret, key_id = make_key(gateway.folder, gateway.key)
    watched, watched_id = make_key(gateway.folder, gateway.key, guard="observe")
    young, young_id = make_key(gateway.folder, gateway.key)
    small, small_id = make_key(gateway.folder, gateway.key)
    taught(
        gateway,
        rates=[
            rate(key_id, minute=1.0),
            rate(watched_id, day=1.0),
            rate(young_id, minute=1.0, ripe=False),
            rate(small_id, minute=0.000001),
        ],
    )
    cost(upstream, RUNAWAY_OUTPUT)  # $0.60
    assert [send(gateway, secret).status for _ in range(3)] == [200, 200, 429]
    refused = send(gateway, secret, model="gpt-4o")
    assert (
        "$1.20 spent in the last minute; usual at this hour of the week is at most $1.00"
        in (refused.json["error"]["message"])
    )
    assert 55 < int(refused.headers["retry-after"]) <= 65
    assert [send(gateway, one).status for one in (watched, young) for _ in range(3)] == [200] * 6
    cost(upstream, USUAL_OUTPUT)
    assert [send(gateway, small).status for _ in range(3)] == [200] * 3  # below the floor
    marked = [row.anomaly_action for row in gateway.rows() if row.key_id == watched_id]
    assert sorted(map(str, marked)) == ["None", "None", "block"]
    assert {row.anomaly_action for row in gateway.rows() if row.key_id == young_id} == {None}


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_spent_outlives_the_process(start: Start, upstream: Scripted, sign: int) -> None:
    gateway = start("max_usd_per_day = 0.5")
    cost(upstream, RUNAWAY_OUTPUT)
    assert send(gateway, gateway.key).status == 200
    run = gateway.folder / "run"
    if sign == signal.SIGKILL:
        wait_until(lambda: any(run.glob("guard-spend-*.json")), 5)  # it is kept each second
    os.kill(gateway.pid, sign)
    gateway.process.wait(15)
    (kept,) = run.glob("guard-spend-*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    gateway = start("max_usd_per_day = 0.5")
    assert send(gateway, gateway.key).status == 429
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.process.wait(15)
    kept.write_bytes(b"garbage")
    gateway = start("max_usd_per_day = 0.5")
    assert send(gateway, gateway.key).status == 200


def test_processes_know_what_keys_have_spent_in_others_also_while_one_drains(
    start: Start, upstream: Scripted
) -> None:
    """As in a reload: the successor runs, the predecessor is told to go and still carries a call."""
    cost(upstream, RUNAWAY_OUTPUT)
    before = start("max_usd_per_day = 1.0")
    assert send(before, before.key).status == 200
    after = start("max_usd_per_day = 1.0")
    asked = threading.Event()

    def slow(connection: Connection) -> None:
        first, *rest = streamed(RUNAWAY_OUTPUT)
        connection.send(head() + chunk(first))
        assert asked.wait(20)
        connection.send(b"".join(map(chunk, rest)) + b"0\r\n\r\n")

    upstream.script = slow
    body = json.dumps(ask("openai", stream=True)).encode()
    start_line = f"POST {OPENAI} HTTP/1.1\r\nHost: x\r\nx-api-key: {before.key}\r\n"
    raw = Raw(before.port, f"{start_line}content-length: {len(body)}\r\n\r\n".encode() + body)
    raw.until(b"data:")
    os.kill(before.pid, signal.SIGTERM)
    cost(upstream, USUAL_OUTPUT)
    assert send(after, after.key).status == 200  # $0.60 of $1
    asked.set()
    raw.until(b"[DONE]")
    wait_until(lambda: send(after, after.key).status == 429, 8)
    raw.close()


def test_who_ends_a_cool_down_lets_the_key_go_on_though_it_has_spent_much(start: Start, upstream: Scripted) -> None:
    gateway = start("block_spend_rate = true")
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id), rates=[rate(key_id, day=1.5)])
    cost(upstream, RUNAWAY_OUTPUT)
    assert [send(gateway, secret).status for _ in range(4)] == [200, 200, 200, 429]
    end(gateway, key_id)
    cost(upstream, USUAL_OUTPUT)
    wait_until(lambda: send(gateway, secret).status == 200, 8)
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.process.wait(15)
    gateway = start("block_spend_rate = true")
    assert send(gateway, secret).status == 200


def test_what_a_key_spends_after_a_cool_down_was_ended_counts_again(start: Start, upstream: Scripted) -> None:
    gateway = start("block_spend_rate = true")
    secret, key_id = make_key(gateway.folder, gateway.key)
    taught(gateway, usual(key_id), rates=[rate(key_id, day=1.5)])
    cost(upstream, RUNAWAY_OUTPUT)
    assert [send(gateway, secret).status for _ in range(4)] == [200, 200, 200, 429]
    end(gateway, key_id)
    wait_until(lambda: send(gateway, secret, model="gpt-4o").status == 200, 8)
    assert 429 in [send(gateway, secret, model="gpt-4o").status for _ in range(4)]


def test_a_lasting_rise_is_refused_until_it_is_accepted_and_a_further_one_is_refused_again(
    start: Start, upstream: Scripted
) -> None:
    gateway = start("floor_usd = 0.0001")
    secret, key_id = make_key(gateway.folder, gateway.key)
    other, other_id = make_key(gateway.folder, gateway.key)
    settings = load(environ={}, overrides={"data.folder": str(gateway.folder)})
    now = datetime.now(UTC)
    before = [
        call(
            now - timedelta(hours=number * 0.7 + 1), key_id=one, model_routed=GPT,
            cost_nano_usd=round(63_000 * math.exp(0.5 * math.sin(number * 1.7))),
        )
        for one in (key_id, other_id)
        for number in range(600)
    ]  # fmt: skip
    delta.append(Lake.open(settings, SystemClock()), schema.frame_from_records(before))
    learn(gateway)
    cost(upstream, 30 * USUAL_OUTPUT)
    for one in (secret, other):
        assert [send(gateway, one).status for _ in range(4)] == [200, 200, 200, 429]
    accept(gateway, key_id)
    wait_until(lambda: send(gateway, secret).status == 200, 8)
    assert [send(gateway, secret).status for _ in range(8)] == [200] * 8, "it is not learnt from yet"
    learn(gateway)
    assert [send(gateway, secret).status for _ in range(20)] == [200] * 20
    assert send(gateway, other).status == 429
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.process.wait(15)
    gateway = start("floor_usd = 0.0001")
    assert [send(gateway, secret).status for _ in range(5)] == [200] * 5
    cost(upstream, 900 * USUAL_OUTPUT)
    assert [send(gateway, secret).status for _ in range(4)] == [200, 200, 200, 429]


def test_a_refusal_gives_back_what_was_held_for_the_call(start: Start, upstream: Scripted) -> None:
    """The guard stands behind budgets and rates: what it refuses takes nothing of them, not even a request."""
    gateway = start("max_input_tokens = 1000")
    made = make_budget(gateway.folder, USD)
    make_rate(gateway.folder, concurrent=1, requests_per_minute=2)
    noticed(gateway, made)
    large = {"messages": [{"role": "user", "content": "many words " * 2_000}], "max_tokens": 100}
    for _ in range(3):
        assert "guard.max_input_tokens" in send(gateway, gateway.key, **large).json["error"]["message"]
    cost(upstream, USUAL_OUTPUT)
    assert send(gateway, gateway.key, max_tokens=100).status == 200
    state = stored_state(gateway.folder, made)
    assert state.spent == sum(row.cost_nano_usd or 0 for row in gateway.rows())
    wait_until(lambda: (told_state(gateway, made) or {}).get("held") == 0, 5)
    assert [row.status for row in gateway.rows()].count("blocked") == 3

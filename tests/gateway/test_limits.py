"""Budgets and rates through real sockets: who is let in, who waits, what a refusal says, what is charged."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anthropic
import openai
import pytest

from tests.fakes.scripted import Connection, Scripted, answer, stream
from tests.gateway.gateways import ANTHROPIC, GPT, OFTEN, OPENAI, PATHS, PROVIDERS, Gateway, ask, start_gateway
from tests.gateway.limited import (
    USD,
    change_budget,
    make_budget,
    make_rate,
    noticed,
    open_store,
    stored_state,
    told_state,
)
from tests.harness import wait_until
from ultimate_lib import journal
from ultimate_lib.store import limits as rows

QUICK = "[limits]\nhold_wait_s = 1.0\n"


def completion(prompt: int = 20, output: int = 100, model: str = GPT) -> bytes:
    return json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
    }).encode()  # fmt: skip


@pytest.fixture
def limited(tmp_path: Path, upstream: Scripted) -> Iterator[Gateway]:
    """A gateway of its own, with a short time to wait for holds."""
    config = QUICK + PROVIDERS.format(url=upstream.url)
    with start_gateway(tmp_path, config, OFTEN) as running:
        yield running


@pytest.fixture(autouse=True)
def answering(upstream: Scripted) -> None:
    upstream.script = answer(completion())
    upstream.requests.clear()


def spent(gateway: Gateway) -> int:
    return sum(row.cost_nano_usd or 0 for row in gateway.rows())


# gpt-4o-mini: $0.15 and $0.60 a million tokens; 20 and 100 of them cost 63,000 nano-dollars.
COST = 63_000


def test_a_hard_budget_is_used_to_the_last_call_that_fits_and_never_beyond(
    limited: Gateway, upstream: Scripted
) -> None:
    """200 at a time on a budget that pays for ten worst cases, each worst case being what they truly cost."""

    def script(connection: Connection) -> None:
        output = json.loads(connection.body)["max_tokens"]
        answer(completion(prompt=len(connection.body) + 64, output=output))(connection)

    upstream.script = script
    body = json.dumps(ask("openai", max_tokens=1000)).encode()
    worst = (len(body) + 64) * 150 + 1000 * 600 + 5
    for run in range(int(os.environ.get("LIMITS_RUNS", "1"))):
        project = {"x-ultimate-project": f"run-{run}"}
        made = make_budget(limited.folder, 10 * worst, subject="project", subject_id=project["x-ultimate-project"])
        noticed(limited, made)

        def one(_: int, headers: dict[str, str] = project) -> int:
            return limited.post(OPENAI, body, headers).status

        with ThreadPoolExecutor(200) as pool:
            got = list(pool.map(one, range(200)))
        paid = sum(row.cost_nano_usd or 0 for row in limited.rows() if row.project == project["x-ultimate-project"])
        assert paid == 10 * (worst - 5) <= 10 * worst
        assert got.count(200) == 10
        assert set(got) == {200, 429}
        assert one(0) == 429


def test_parallel_calls_that_cost_little_of_what_they_reserve_are_all_served(
    limited: Gateway, upstream: Scripted
) -> None:
    """50 at a time: each reserves about $1 and costs a cent, and $25 are there."""
    made = make_budget(limited.folder, 25 * USD, hold_wait_s=20.0)
    noticed(limited, made)
    upstream.script = answer(completion(prompt=1000, output=16_384, model=GPT))  # 9,980,400 nano-dollars
    body = ask("openai", max_tokens=16_384, n=100)  # reserves 0.98 dollars
    with ThreadPoolExecutor(50) as pool:
        got = list(pool.map(lambda _: limited.post(OPENAI, body).status, range(50)))
    assert got == [200] * 50
    assert spent(limited) == 50 * 9_980_400


def test_the_clients_raise_their_rate_limit_error(limited: Gateway, protocol: str) -> None:
    made = make_budget(limited.folder, 1)
    noticed(limited, made)
    with limited.one_row() as rows:
        if protocol == "anthropic":
            with (
                anthropic.Anthropic(base_url=limited.url, api_key=limited.key, max_retries=0) as client,
                pytest.raises(anthropic.RateLimitError) as caught,
            ):
                client.messages.create(
                    model="claude-haiku-4-5", max_tokens=10, messages=[{"role": "user", "content": "Hello"}]
                )
        else:
            with (
                openai.OpenAI(base_url=f"{limited.url}/v1", api_key=limited.key, max_retries=0) as other,
                pytest.raises(openai.RateLimitError) as caught,  # type: ignore[assignment] # the other's
            ):
                other.chat.completions.create(model=GPT, messages=[{"role": "user", "content": "Hello"}])
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 86_400
    assert "does not pay for this call" in str(caught.value)
    assert (rows[0].status, rows[0].error_type, rows[0].http_status) == ("refused", "budget", 429)


def test_requests_a_minute(limited: Gateway, protocol: str) -> None:
    made = make_budget(limited.folder, 1, hard=False)
    make_rate(limited.folder, requests_per_minute=2)
    noticed(limited, made)
    body = ask(protocol)
    assert [limited.post(PATHS[protocol], body).status for _ in range(2)] == [200, 200]
    with limited.one_row() as rows:
        refused = limited.post(PATHS[protocol], body)
    assert refused.status == 429
    assert 50 <= int(refused.headers["retry-after"]) <= 61
    assert rows[0].error_type == "rate_limit"


def test_large_bodies_are_looked_through_beside_the_loop(limited: Gateway, upstream: Scripted) -> None:
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    small = {"role": "user", "content": [{"type": "text", "text": "Hello " * 20}]}
    body = json.dumps(ask("openai", max_tokens=10, messages=[small] * 3000)).encode()
    held = (len(body) + 64) * 150 + 10 * 600 + 5
    got = limited.post(OPENAI, body)
    assert got.status == 200
    assert upstream.requests[-1].body == body
    change_budget(limited.folder, made, amount=held + COST - 1)  # one nano-dollar too little
    limited.wait_for_beats(8)  # it looks at each of them
    with limited.one_row() as rows:
        assert limited.post(OPENAI, body).status == 429
    assert (rows[0].status, rows[0].error_type) == ("refused", "budget")
    assert limited.post(OPENAI, body.replace(b'"stream"', b"x") + b"}").status == 400
    with limited.one_row() as rows:
        raw = limited.open(OPENAI, body)
        raw.close()
    assert rows[0].status in {"cut", "refused"}


def test_without_max_tokens_a_call_is_given_the_models_own(limited: Gateway, upstream: Scripted) -> None:
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    got = limited.post(OPENAI, ask("openai"))
    assert json.loads(upstream.requests[-1].body)["max_tokens"] == 16_384
    assert float(got.headers["x-ultimate-budget-remaining-usd"]) == pytest.approx(25 - COST / 1e9)
    body = json.dumps(ask("openai", max_tokens=7)).encode()
    limited.post(OPENAI, body)
    assert upstream.requests[-1].body == body  # what it says itself passes unchanged


def test_soft_budgets_leave_the_bytes_alone(limited: Gateway, upstream: Scripted) -> None:
    made = make_budget(limited.folder, 1, hard=False)
    noticed(limited, made)
    body = json.dumps(ask("openai")).encode()
    assert limited.post(OPENAI, body).status == 200
    assert upstream.requests[-1].body == body
    wait_until(lambda: (told_state(limited, made) or {}).get("spent") == COST, 10)  # it is there


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (ask("openai", model="openai/unheard-of"), "no price"),
        (ask("openai", web_search_options={}), "searches the web"),
        (ask("openai", service_tier="unheard-of"), "service tier"),
        (ask("openai", max_tokens="100"), "no number"),
        (ask("anthropic", tools=[{"type": "web_search_20250305", "name": "web_search"}]), "runs the tool"),
    ],
)
def test_what_has_no_bound_is_refused(limited: Gateway, body: dict[str, object], reason: str) -> None:
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    path = ANTHROPIC if str(body["model"]).startswith("claude") else OPENAI
    refused = limited.post(path, body)
    assert refused.status == 429
    assert reason in refused.json["error"]["message"]
    change_budget(limited.folder, made, unpriced="allow")
    wait_until(lambda: limited.post(path, body).status == 200, 10)


def test_files_and_batches_are_refused_and_reads_are_not(limited: Gateway) -> None:
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    assert limited.post("/v1/batches", {}).status == 429
    assert limited.request("GET", "/v1/batches").status == 200
    assert limited.post("/v1/messages/count_tokens", ask("anthropic")).status == 200


def test_price_as_charges_by_the_other_models_price(limited: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(completion(model="unheard-of"))
    made = make_budget(limited.folder, 25 * USD, unpriced=f"price_as:{GPT}")
    noticed(limited, made)
    assert limited.post(OPENAI, ask("openai", model="openai/unheard-of", max_tokens=100)).status == 200
    assert stored_state(limited.folder, made).spent == COST


def test_a_model_to_price_as_that_has_no_price_is_named(limited: Gateway) -> None:
    made = make_budget(limited.folder, 25 * USD)
    with open_store(limited.folder) as store, store.begin() as connection:  # it had one when it was set
        assert rows.change(connection, "budget", made, 1, {"unpriced": "price_as:gpt-4o-minni"})
    noticed(limited, made)
    got = limited.post(OPENAI, ask("openai", model="openai/unheard-of", max_tokens=100))
    assert got.status == 429
    assert "no price of 'unheard-of', nor of 'gpt-4o-minni', by which" in got.json["error"]["message"]


def test_a_call_waits_for_what_others_hold(limited: Gateway, upstream: Scripted) -> None:
    def slow(connection: Connection) -> None:
        time.sleep(0.4)
        answer(completion())(connection)

    upstream.script = slow
    made = make_budget(limited.folder, 700_000, hold_wait_s=20.0)  # one call of 1000 tokens at a time
    noticed(limited, made)
    body = ask("openai", max_tokens=1000)
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda _: limited.post(OPENAI, body), range(2)))
    assert [one.status for one in got] == [200, 200]  # after the first 637,000 are left, and 624,000 needed
    assert time.monotonic() - began >= 0.8
    assert limited.post(OPENAI, body).status == 429


def test_a_client_that_leaves_while_it_waits_is_forgotten(limited: Gateway, upstream: Scripted) -> None:
    left = threading.Event()

    def slow(connection: Connection) -> None:
        assert left.wait(20)
        answer(completion())(connection)

    upstream.script = slow
    made = make_budget(limited.folder, 1_300_000, hold_wait_s=20.0)
    noticed(limited, made)
    body = ask("openai", max_tokens=1000)
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(limited.post, OPENAI, body) for _ in range(2)]
        wait_until(lambda: len(upstream.requests) == 2, 10)
        waiting = limited.open(OPENAI, body)
        limited.wait_for_beats(2)  # it has read the request
        waiting.close()
        wait_until(lambda: len(limited.rows()) == 1, 10)
        left.set()
        assert [one.result().status for one in first] == [200, 200]
    wait_until(lambda: len(limited.rows()) == 3, 10)
    assert len(upstream.requests) == 2
    assert sorted(str(row.status) for row in limited.rows()) == ["cut", "ok", "ok"]
    assert stored_state(limited.folder, made).spent == 2 * COST


def test_what_is_not_known_is_charged_as_it_was_held(limited: Gateway, upstream: Scripted) -> None:
    """A client leaves in the middle of a stream: nobody can say what its provider will bill."""
    chunk = b'data: {"id":"c","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
    upstream.script = stream([chunk] * 50, pause_s=0.05)
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    body = json.dumps(ask("openai", max_tokens=1000, stream=True)).encode()
    raw = limited.open(OPENAI, body)
    with limited.one_row() as rows:
        raw.until(b"word")
        raw.close()
    assert rows[0].status == "cut"
    held = 600_000 + (len(body) + 64) * 150 + 5
    state = stored_state(limited.folder, made)
    assert (state.spent, state.held) == (held, 0)
    assert (rows[0].cost_nano_usd or 0) < held


@pytest.mark.parametrize("status", [302, 400, 429, 500])
def test_an_error_of_the_provider_costs_nothing(limited: Gateway, upstream: Scripted, status: int) -> None:
    upstream.script = answer(b'{"error":{"message":"no","type":"x"}}', status)
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    assert limited.post(OPENAI, ask("openai")).status == (status if status >= 400 else 502)
    state = stored_state(limited.folder, made)
    assert (state.spent, state.held) == (0, 0)


def test_a_client_that_leaves_within_an_error_pays_nothing(limited: Gateway, upstream: Scripted) -> None:
    sent = threading.Event()

    def half(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
        sent.set()
        connection.left_within(10)
        connection.close()

    upstream.script = half
    made = make_budget(limited.folder, 25 * USD)
    tokens = make_budget(limited.folder, 10**6, unit="tokens", hard=False)
    noticed(limited, tokens)
    raw = limited.open(OPENAI, ask("openai", max_tokens=1000))
    with limited.one_row() as rows:
        assert sent.wait(10)
        limited.wait_for_beats(2)  # it has read the head
        raw.close()
    assert (rows[0].status, rows[0].cost_nano_usd, rows[0].usage_source) == ("cut", None, "none")
    for name in (made, tokens):
        state = stored_state(limited.folder, name)
        assert (state.spent, state.held) == (0, 0)


def test_a_failure_that_tells_its_usage_is_charged_it(limited: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(completion(), 500)
    made = make_budget(limited.folder, 25 * USD)
    noticed(limited, made)
    assert limited.post(OPENAI, ask("openai")).status == 500
    assert stored_state(limited.folder, made).spent == COST


def test_a_model_that_gives_more_than_we_know_of_is_held_as_asked(limited: Gateway, upstream: Scripted) -> None:
    """gpt-4o-mini gives 16,384 tokens, as we know it; a provider that gives more must not overspend."""
    upstream.script = answer(completion(output=40_000))
    made = make_budget(limited.folder, 20_000_000)  # 40,000 of its tokens cost 24,000,000
    noticed(limited, made)
    assert limited.post(OPENAI, ask("openai", max_tokens=40_000)).status == 429
    assert stored_state(limited.folder, made).spent == 0


def test_a_killed_gateway_leaves_its_holds_charged_and_the_next_one_knows(tmp_path: Path, upstream: Scripted) -> None:
    config = QUICK + PROVIDERS.format(url=upstream.url)
    with start_gateway(tmp_path, config, OFTEN) as first:
        made = make_budget(first.folder, 1_500_000)
        noticed(first, made)
        body = json.dumps(ask("openai", max_tokens=1000)).encode()
        assert first.post(OPENAI, body).status == 200

        def never(connection: Connection) -> None:
            connection.left_within(20)
            connection.close()

        upstream.script = never
        hanging = first.open(OPENAI, body)
        wait_until(lambda: len(upstream.requests) == 2, 10)
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
        hanging.rest()
    held = 600_000 + (len(body) + 64) * 150 + 5
    assert (stored_state(first.folder, made).spent, stored_state(first.folder, made).held) == (COST, held)
    upstream.script = answer(completion())
    with start_gateway(tmp_path, config, OFTEN) as second:
        noticed(second, made)
        told = told_state(second, made)
        assert told is not None
        assert (told["spent"], told["held"]) == (COST, held)
        got = [second.post(OPENAI, body).status for _ in range(6)]
        # 1,500,000 less 63,000 less the hold leaves 800,000: three more cost 189,000 and leave less than a worst case
        assert got == [200, 200, 200, 429, 429, 429]
    assert journal.writer_folders(second.folder / "journal")

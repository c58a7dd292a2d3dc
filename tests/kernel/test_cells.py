"""Each call on its right cell, asked of the proxy: plain, streams, tasks, threads, pools, failures, interrupts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.harness import Running, wait_until
from tests.kernel.kernels import (
    CLAUDE_INPUT,
    CLAUDE_OUTPUT,
    GPT_INPUT,
    GPT_OUTPUT,
    Kernel,
    rows_of,
)  # fmt: skip
from ultimate_lib.clock import SystemClock


@pytest.fixture
def loaded(shared: Kernel) -> Kernel:
    return shared


def by_cell(proxy: Running, kernel: Kernel, expected: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows_of(proxy, kernel, expected):
        counts[row["cell_id"]] = counts.get(row["cell_id"], 0) + 1
    return counts


def test_plain_calls_of_both_packages(loaded: Kernel, proxy: Running) -> None:
    one = loaded.run("ask(gpt, input_tokens=1000, output_tokens=100); None", "c1")
    two = loaded.run(
        "ask(gpt, input_tokens=10, output_tokens=5); tell(claude, input_tokens=7, output_tokens=3); None", "c2"
    )
    assert one.line.startswith("1 call · 1,100 tokens · $0.00021 · ")
    assert two.line.startswith("2 calls · 25 tokens · $0.0000705 · ")
    rows = rows_of(proxy, loaded, 3)
    assert [(row["cell_id"], row["cost_nano_usd"], row["protocol_in"]) for row in rows] == [
        ("c1", 1000 * GPT_INPUT + 100 * GPT_OUTPUT, "openai-chat"),
        ("c2", 10 * GPT_INPUT + 5 * GPT_OUTPUT, "openai-chat"),
        ("c2", 7 * CLAUDE_INPUT + 3 * CLAUDE_OUTPUT, "anthropic-messages"),
    ]
    assert {row["kernel_id"] for row in rows} == {loaded.id}
    assert {row["notebook"] for row in rows} == {None}, "nothing tells it here"


def test_the_second_run_of_a_cell_is_told_alone(loaded: Kernel, proxy: Running) -> None:
    first = loaded.run("ask(gpt, input_tokens=100, output_tokens=1); None", "c1")
    second = loaded.run("ask(gpt, input_tokens=200, output_tokens=2); None", "c1")
    assert first.line.startswith("1 call · 101 tokens")
    assert second.line.startswith("1 call · 202 tokens")
    assert by_cell(proxy, loaded, 2) == {"c1": 2}


def test_the_cell_that_loads_is_followed_too(kernel: Kernel, proxy: Running) -> None:
    code = "%load_ext ultimate_lib\nimport openai\n"
    code += "said = [{'role': 'user', 'content': 'hi'}]\n"
    code += "_ = openai.OpenAI().chat.completions.create(model='demo/gpt-4o-mini', messages=said)"
    output = kernel.run(code, "first")
    assert output.stdout.startswith("Calls from this notebook go through ")
    assert output.line.startswith("1 call · ")
    assert by_cell(proxy, kernel, 1) == {"first": 1}


def test_a_stream_belongs_to_the_cell_that_opened_it(loaded: Kernel, proxy: Running) -> None:
    opened = loaded.run(
        "stream = gpt.chat.completions.create(model=GPT, stream=True, stream_options={'include_usage': True},"
        " messages=said(input_tokens=50, output_tokens=20, chunks=5, delay_ms=150))",
        "c1",
    )
    assert opened.line == "1 call · 1 still running"
    read = loaded.run("result(len(list(stream)))", "c2")
    assert read.value >= 5
    assert " call" not in read.stdout.replace("RESULT", ""), "what another cell began is not told here"
    (row,) = rows_of(proxy, loaded, 1)
    assert (row["cell_id"], row["stream"], row["input_tokens"], row["output_tokens"]) == ("c1", True, 50, 20)
    helper = loaded.run(
        "script = said(input_tokens=5, output_tokens=9)\n"
        "with claude.messages.stream(model=CLAUDE, max_tokens=9, messages=script) as told:\n"
        "    result(len(told.get_final_text()) > 0)",
        "c3",
    )
    assert helper.value is True
    assert helper.line.startswith("1 call · 14 tokens")


def test_gather_of_twenty(loaded: Kernel, proxy: Running) -> None:
    output = loaded.run(
        "gpt2, claude2 = openai.AsyncOpenAI(), anthropic.AsyncAnthropic()\n"
        "told = await asyncio.gather("
        "*[ask(gpt2, input_tokens=n, output_tokens=1, first_delay_ms=50) for n in range(10)],"
        " *[tell(claude2, input_tokens=n, output_tokens=1) for n in range(10)])\n"
        "result(len(told))",
        "gathered",
    )
    assert output.value == 20
    assert output.line.startswith("20 calls · 110 tokens · ")
    assert by_cell(proxy, loaded, 20) == {"gathered": 20}


def test_a_task_that_outlives_its_cell(loaded: Kernel, proxy: Running) -> None:
    output = loaded.run(
        "gpt2, go = openai.AsyncOpenAI(), asyncio.Event()\nasync def later():\n    await go.wait()\n"
        "    for n in range(3):\n        await ask(gpt2, input_tokens=1, output_tokens=1)\n"
        "task = asyncio.create_task(later())\nawait ask(gpt2, input_tokens=5, output_tokens=5)",
        "starter",
    )
    assert output.line.startswith("1 call · 10 tokens")
    other = loaded.run("ask(gpt, input_tokens=2, output_tokens=2); go.set(); await task", "other")
    assert other.line.startswith("1 call · 4 tokens")
    assert by_cell(proxy, loaded, 5) == {"starter": 4, "other": 1}


def test_threads_and_pools(loaded: Kernel, proxy: Running) -> None:
    loaded.run(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)\n"
        "list(pool.map(lambda n: ask(gpt, input_tokens=n, output_tokens=1), range(4)))\nNone",
        "pool made",
    )
    loaded.run(
        "_ = [f.result() for f in [pool.submit(tell, claude, input_tokens=1, output_tokens=1)] * 1]", "pool used"
    )
    loaded.run(
        "def work():\n    time.sleep(0.4)\n    ask(gpt, input_tokens=1, output_tokens=1)\n"
        "thread = threading.Thread(target=work); thread.start()",
        "thread made",
    )
    loaded.run("thread.join()", "thread joined")
    loaded.run("def deep():\n    t = threading.Thread(target=work); t.start(); t.join()\n"
               "await asyncio.to_thread(work)\nawait asyncio.get_running_loop().run_in_executor(None, work)\n"
               "t = threading.Timer(0.01, deep); t.start(); t.join()", "others")  # fmt: skip
    assert by_cell(proxy, loaded, 9) == {"pool made": 4, "pool used": 1, "thread made": 1, "others": 3}


def test_a_failing_cell(loaded: Kernel, proxy: Running) -> None:
    output = loaded.fail("ask(gpt, input_tokens=3, output_tokens=3); 1/0", "failing")
    assert output.error == "ZeroDivisionError: division by zero"
    assert output.line.startswith("1 call · 6 tokens")
    refused = loaded.fail("gpt.chat.completions.create(model='nobody/has-this', messages=said())", "unknown model")
    assert refused.error.startswith("NotFoundError")
    limited = loaded.fail("ask(gpt, status=429)", "limited")
    assert limited.error.startswith("RateLimitError")
    assert limited.line.startswith("1 call · — tokens · no cost · ")
    assert limited.line.endswith(" · 1 error")
    rows = {row["cell_id"]: row["status"] for row in rows_of(proxy, loaded, 3)}
    assert rows == {"failing": "ok", "unknown model": "refused", "limited": "error"}


def in_flight(proxy: Running, calls: int) -> Callable[[], bool]:
    """Return a question: whether so many calls are under way, at a later moment than this."""
    now_us = SystemClock().now_us()

    def true() -> bool:
        told = [json.loads(path.read_bytes()) for path in proxy.data_dir.rglob("run/gateway-*.json")]
        return sum(one["in_flight"] for one in told if one["at_us"] > now_us) == calls

    return true


def test_an_interrupted_cell(loaded: Kernel, proxy: Running) -> None:
    stream = "gpt.chat.completions.create(model=GPT, stream=True, messages=said(chunks=50, delay_ms=999))"
    tick = "async def tick():\n    while True: await asyncio.sleep(0.1)\n"  # ipykernel cancels at the next event
    gather = "await asyncio.gather(tick(), *[ask(openai.AsyncOpenAI(), first_delay_ms=30000) for _ in range(3)])"
    codes = {"plain": "ask(gpt, first_delay_ms=30000)", "stream": f"for _ in {stream}: pass"}
    codes["gathered"] = tick + gather
    for name, code in codes.items():
        message = loaded.send(code, name)
        wait_until(in_flight(proxy, 3 if name == "gathered" else 1), 20, proxy)
        time.sleep(0.2)  # until the client waits, or hears
        loaded.manager.interrupt_kernel()
        output = loaded.wait(message)
        assert output.error.startswith(("KeyboardInterrupt", "CancelledError")), output.error
    after = loaded.run("ask(gpt, input_tokens=1, output_tokens=1); None", "after")
    assert after.line.startswith("1 call · 2 tokens")
    rows = rows_of(proxy, loaded, 6)
    assert sorted((row["cell_id"], row["status"]) for row in rows) == sorted(
        [("plain", "cut"), ("stream", "cut"), *[("gathered", "cut")] * 3, ("after", "ok")]
    )


def test_a_cell_without_calls_says_nothing(loaded: Kernel) -> None:
    assert loaded.run("1 + 1", "quiet").stdout == ""


def test_silent_runs_and_cells_without_an_id(loaded: Kernel, proxy: Running) -> None:
    loaded.run("ask(gpt, input_tokens=1, output_tokens=1); None", silent=True)
    output = loaded.run("ask(gpt, input_tokens=1, output_tokens=1); None")
    assert output.line.startswith("1 call")
    number = output.reply["execution_count"]
    rows = rows_of(proxy, loaded, 2)
    assert [row["cell_id"] for row in rows] == [None, f"In[{number}]"]


def test_cells_run_by_code_belong_to_the_cell_that_runs_them(loaded: Kernel, proxy: Running) -> None:
    output = loaded.run(
        "get_ipython().run_cell('ask(gpt, input_tokens=1, output_tokens=1)')\n"
        "ask(gpt, input_tokens=2, output_tokens=2); None",
        "outer",
    )
    assert output.line.startswith("2 calls · 6 tokens")
    assert by_cell(proxy, loaded, 2) == {"outer": 2}

"""The proxy goes away and comes back in the middle of a session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.fakes import PROVIDER, VERIFIED, VERSION, Server, serve
from tests.kernel.kernels import CLIENTS, OPENAI, Kernel, events, start_kernel
from tests.stopwatch import Stopwatch

OURS = "cp_" + "k" * 43
PROXY = {
    "/api/version": (200, VERSION), "/api/auth/verify": (200, VERIFIED), **PROVIDER,
    "/api/analytics/calls": (200, {"rows": [], "next_cursor": None}),
}  # fmt: skip
# Clients believe that the test's own server is their provider's public address.
PUBLIC = """
from ultimate_lib.kernel import environment, clients
import os
for family, url in json.loads(os.environ["TEST_PROVIDERS"]).items():
    environment.PUBLIC_HOSTS[family] = "localhost"
    environment.PUBLIC_URLS[family] = url
gpt = openai.OpenAI(api_key="sk-own", base_url=environment.PUBLIC_URLS["openai"], max_retries=0)
gpt2 = openai.AsyncOpenAI(api_key="sk-own2", base_url=environment.PUBLIC_URLS["openai"], max_retries=0)
claude = anthropic.Anthropic(api_key="sk-ant-own", base_url=environment.PUBLIC_URLS["anthropic"], max_retries=0)
"""


def keys(server: Server) -> list[str]:
    """Return the credentials of the calls that a server got."""
    calls = [headers for path, headers in server.seen if path.startswith("/v1/")]
    return [headers.get("authorization", headers.get("x-api-key", "")).removeprefix("Bearer ") for headers in calls]


@pytest.fixture
def provider() -> Iterator[Server]:
    with serve(PROVIDER) as server:
        yield server


def environment_of(provider: Server, url: str) -> dict[str, str]:
    import json

    at = f"http://localhost:{provider.server_port}"
    told = json.dumps({"openai": f"{at}/v1", "anthropic": at})
    return {"TEST_PROVIDERS": told, "CLAUDE_PROXY_URL": url, "CLAUDE_PROXY_API_KEY": OURS}


def answer(kernel: Kernel, code: str) -> str:
    return str(kernel.run(f"result({code})").value)


GPT_CALL = "ask(gpt).choices[0].message.content"


def test_direct_while_the_proxy_is_away_and_back_when_it_answers(tmp_path: Path, provider: Server) -> None:
    with serve(PROXY) as first:
        port = first.server_port
        with start_kernel(tmp_path, None, environment_of(provider, first.url)) as kernel:
            kernel.run(CLIENTS + PUBLIC)
            loaded = kernel.run("%load_ext ultimate_lib")
            assert "3 existing clients included" in loaded.stdout
            kernel.hello(loaded, "a.ipynb")
            kernel.run(GPT_CALL)
            assert keys(first) == [OURS]
            assert not provider.seen
            first.shutdown()
            first.server_close()
            away = kernel.run(f"result([{GPT_CALL}, tell(claude).content[0].text, {GPT_CALL}])", "c1")
            assert away.value == ["direct"] * 3
            assert keys(provider) == ["sk-own", "sk-ant-own", "sk-own"]
            assert not any(name.startswith("x-ultimate") for _, headers in provider.seen for name in headers)
            assert away.stderr.count("does not accept connections. Until it does, calls") == 1
            meanwhile = kernel.run("result((await ask(gpt2)).id)")
            assert meanwhile.value == "chatcmpl-direct"
            assert keys(provider)[-1] == "sk-own2"
            before = kernel.drain(0)  # what was told until now is not what is waited for
            with serve(PROXY, port=port) as second:
                line = "3 calls went directly to the provider, unrecorded"
                back = kernel.drain(
                    20,
                    lambda told: (
                        events("state", told)
                        and line in [one["line"] for one in events("cell", away, meanwhile, before, told)]
                    ),
                )
                gone, there = events("state", away)[-1], events("state", back)[-1]
                assert (gone["routed"], "does not accept" in gone["reason"]) == (False, True)
                assert (there["routed"], there["reason"]) == (True, "")
                assert line in [told["line"] for told in events("cell", away, meanwhile, before, back)]
                again = kernel.run(f"{GPT_CALL}; tell(claude); await ask(gpt2)", "c2")
                assert not again.stderr
                assert keys(second) == [OURS] * 3
                assert len(keys(provider)) == 4
                kernel.run("%ultimate off")
                kernel.run(GPT_CALL)
                assert keys(provider)[-1] == "sk-own"
    everything = keys(first) + keys(second)
    assert set(everything) == {OURS}, "no key of a provider went to the proxy"
    assert OURS not in str(provider.seen), "nor ours to a provider"


def test_without_a_key_of_its_own_the_clients_error_tells_what_to_do(tmp_path: Path, provider: Server) -> None:
    with serve(PROXY) as proxy, start_kernel(tmp_path, None, environment_of(provider, proxy.url)) as kernel:
        kernel.run(CLIENTS + "import httpx\n%load_ext ultimate_lib")
        kernel.run(
            "gpt, claude = openai.OpenAI(max_retries=1), anthropic.Anthropic(max_retries=0)\n"
            "gpt2 = openai.AsyncOpenAI(max_retries=0)\nask(gpt)"
        )
        proxy.shutdown()
        proxy.server_close()
        for code in ("ask(gpt)", "tell(claude)", "await ask(gpt2)"):
            failed = kernel.fail(code)
            assert failed.error.startswith("APIConnectionError: The Ultimate Proxy at http://127.0.0.1:")
            assert (
                "does not accept connections. Start it with `ultimate-proxy up`, or run `%ultimate off`"
                in failed.error
            )
            assert not failed.stdout, "no line for what never reached anybody"
        plain = kernel.fail(f"httpx.get('{proxy.url}/v1/models')")
        assert plain.error.startswith("ConnectError: The Ultimate Proxy at")
        elsewhere = kernel.fail("httpx.get('http://127.0.0.1:9/')")
        assert "Ultimate" not in elsewhere.error
    assert not provider.seen


def test_a_key_that_an_own_function_gives_is_not_used_directly(tmp_path: Path, provider: Server) -> None:
    with serve(PROXY) as proxy, start_kernel(tmp_path, None, environment_of(provider, proxy.url)) as kernel:
        kernel.run(CLIENTS + PUBLIC + "called = openai.OpenAI(api_key=lambda: 'sk-called', max_retries=0, "
                   "base_url=environment.PUBLIC_URLS['openai'])\n%load_ext ultimate_lib\nask(called)")  # fmt: skip
        assert keys(proxy) == [OURS]
        proxy.shutdown()
        proxy.server_close()
        assert "does not accept connections" in kernel.fail("ask(called)").error
        kernel.run("%ultimate off")
        assert kernel.run("result(ask(called).id)").value == "chatcmpl-direct"
        assert keys(provider) == ["sk-called"]


def test_a_cell_is_told_when_its_cost_cannot_be_asked(tmp_path: Path, provider: Server) -> None:
    answers = {
        **PROXY,
        "/api/analytics/calls": (403, {"error": {"code": "denied", "message": "This key may not read."}}),
    }
    with serve(answers) as proxy, start_kernel(tmp_path, None, environment_of(provider, proxy.url)) as kernel:
        kernel.run(OPENAI + "%load_ext ultimate_lib\ngpt = openai.OpenAI()")
        output = kernel.run("ask(gpt); None", "c1")
        assert output.stdout == "1 call · cost not known: This key may not read.\n"
        proxy.answers["/api/analytics/calls"] = (200, {"rows": [], "next_cursor": None})
        start = time.monotonic()
        with Stopwatch() as took:
            output = kernel.run("ask(gpt); None", "c1")
        assert output.stdout == "1 call · 1 not recorded yet\n"
        assert time.monotonic() - start > 1.4
        assert took.seconds < 5, "bounded"


def test_nothing_is_left_running(tmp_path: Path, provider: Server) -> None:
    with serve(PROXY) as proxy, start_kernel(tmp_path, None, environment_of(provider, proxy.url)) as kernel:
        kernel.run(CLIENTS + PUBLIC + "%load_ext ultimate_lib\nask(gpt)")
        proxy.shutdown()
        proxy.server_close()
        kernel.run(GPT_CALL)
        kernel.run("%unload_ext ultimate_lib")
        left = "[t.name for t in threading.enumerate() if t.name.startswith('ultimate')]"
        wait = f"end = time.monotonic() + 20\nwhile {left} and time.monotonic() < end: time.sleep(0.05)\n"
        assert kernel.run(f"{wait}result({left})").value == []

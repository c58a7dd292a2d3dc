"""Clients and environment led to the proxy and back, object by object."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import Running
from tests.kernel.kernels import CLIENTS, OPENAI, Kernel, rows_of, start_kernel

KEYS = {
    "OPENAI_API_KEY": "sk-openai-environment", "ANTHROPIC_API_KEY": "sk-ant-environment",
    "ANTHROPIC_AUTH_TOKEN": "token-environment", "OPENAI_BASE_URL": "https://api.openai.com/v1",
}  # fmt: skip
MADE = (
    CLIENTS
    + """
import os, httpx2
def all_kinds():
    return {
        "plain": openai.OpenAI(), "keyed": openai.OpenAI(api_key="sk-own"),
        "async": openai.AsyncOpenAI(api_key="sk-own2"),
        "public": openai.OpenAI(api_key="sk-own3", base_url="https://api.openai.com/v1/"),
        "called": openai.OpenAI(api_key=lambda: "sk-called"),
        "headed": openai.OpenAI(api_key="sk-own4", default_headers={"X-Team": "red"}),
        "copied": openai.OpenAI(api_key="sk-own5").with_options(timeout=7),
        "claude": anthropic.Anthropic(), "claude keyed": anthropic.Anthropic(api_key="sk-ant-own"),
        "claude token": anthropic.Anthropic(auth_token="token-own"),
        "claude async": anthropic.AsyncAnthropic(api_key="sk-ant-own2"),
        "claude copied": anthropic.Anthropic(api_key="sk-ant-own3").with_options(max_retries=1),
        "gateway": openai.OpenAI(api_key="sk-gateway", base_url="http://gateway.test/v1"),
        "gateway2": anthropic.Anthropic(api_key="sk-gateway", base_url="http://gateway.test"),
        "azure": openai.AzureOpenAI(api_key="azure", azure_endpoint="https://x.openai.azure.com", api_version="1"),
    }
def facts(client):
    private = ("_base_url", "_base_url_was_default", "_unchosen_base_url", "max_retries", "timeout")
    told = {name: str(getattr(client, name, None)) for name in ("base_url", "api_key", "auth_token", *private)}
    told["provider"] = (getattr(client, "_api_key_provider", None) or str)()
    headers = {k: v if isinstance(v, str) else type(v).__name__ for k, v in client.default_headers.items()}
    return told | {"headers": headers, "auth": client.auth_headers}
def all_facts(clients): return {name: facts(client) for name, client in clients.items()}
def variables(): return {k: v for k, v in sorted(os.environ.items()) if k.startswith(("OPENAI", "ANTHROPIC"))}
def patched():
    import concurrent.futures
    from openai import OpenAI, AsyncOpenAI
    from anthropic import Anthropic, AsyncAnthropic
    owners = [OpenAI, AsyncOpenAI, Anthropic, AsyncAnthropic, openai.APIConnectionError, anthropic.APIConnectionError,
              httpx2.Client, httpx2.AsyncClient, threading.Thread, concurrent.futures.ThreadPoolExecutor]
    names = ("__init__", "copy", "with_options", "_prepare_request", "send", "start", "submit")
    return {f"{o.__module__}.{o.__name__}.{n}": id(vars(o).get(n)) for o in owners for n in names}
"""
)
LED = {
    "plain", "keyed", "async", "public", "called", "headed", "copied",
    "claude", "claude keyed", "claude token", "claude async", "claude copied",
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, proxy: Running) -> Iterator[Kernel]:
    with start_kernel(tmp_path_factory.mktemp("home"), proxy, KEYS) as running:
        running.run(MADE)
        yield running


@pytest.fixture
def keyed(kept: Kernel) -> Iterator[Kernel]:
    """The kernel with keys of its own that the tests share: each leaves it unloaded, its variables as they were.

    And without the clients that it made: existing ones are counted.
    """
    kept.began = datetime.now(UTC)
    kept.run("import gc; named = set(globals())")
    before = kept.run("result([variables(), patched()])").value
    yield kept
    kept.run("%unload_ext ultimate_lib")
    kept.run("for name in set(globals()) - named - {'named'}: del globals()[name]\n_ = gc.collect()")
    assert kept.run("result([variables(), patched()])").value == before


def test_off_restores_object_by_object(keyed: Kernel, proxy: Running) -> None:
    before = keyed.run(MADE + "made = all_kinds(); result([all_facts(made), variables(), patched()])").value
    loaded = keyed.run("%load_ext ultimate_lib")
    assert ", 12 existing clients included." in loaded.stdout
    led, variables, patched = keyed.run("result([all_facts(made), variables(), patched()])").value
    for name, told in led.items():
        assert (told["base_url"].startswith(proxy.url)) is (name in LED), name
        assert ("cp_" in str(told["auth"])) is (name in LED), name
        if name not in LED:
            assert told == before[0][name]
    assert variables == {
        "OPENAI_API_BASE": f"{proxy.url}/v1", "OPENAI_API_KEY": proxy.key, "OPENAI_BASE_URL": f"{proxy.url}/v1",
        "ANTHROPIC_API_KEY": proxy.key, "ANTHROPIC_BASE_URL": proxy.url,
    }  # fmt: skip
    assert patched != before[2]
    calls = (
        "ask(made['plain']); ask(made['keyed']); await ask(made['async']); ask(made['public']); ask(made['called']);"
        "ask(made['headed']); ask(made['copied']); tell(made['claude']); tell(made['claude keyed']);"
        "tell(made['claude token']); await tell(made['claude async']); tell(made['claude copied']); None"
    )
    assert keyed.run(calls, "calls").line.startswith("12 calls · ")
    keyed.run("%ultimate off")
    assert keyed.run("result([all_facts(made), variables(), patched()])").value == before
    keyed.run("%ultimate on")
    assert keyed.run(calls, "again").line.startswith("12 calls · ")
    keyed.run("%ultimate off\n%ultimate off")
    assert keyed.run("result([all_facts(made), variables(), patched()])").value == before
    rows_of(proxy, keyed, 24)


def test_clients_made_while_it_is_on_become_what_they_would_have_been(keyed: Kernel, proxy: Running) -> None:
    before = keyed.run(MADE + "first = all_kinds(); result([all_facts(first), variables(), patched()])").value
    keyed.run("%load_ext ultimate_lib\nmade = all_kinds()")
    led = keyed.run("result(all_facts(made))").value
    for name, told in led.items():
        assert (told["base_url"].startswith(proxy.url)) is (name in LED), name
    keyed.run("%unload_ext ultimate_lib")
    after = keyed.run("result([all_facts(made), variables(), patched()])").value
    for name, told in before[0].items():
        assert after[0][name] == told, name
    assert after[1:] == before[1:]


def test_without_keys_of_ones_own(kernel: Kernel, proxy: Running) -> None:
    kernel.run(CLIENTS + "import os")
    kernel.run("%load_ext ultimate_lib\ngpt, claude = openai.OpenAI(), anthropic.Anthropic()")
    kernel.run("ask(gpt); tell(claude); ask(gpt.with_options(timeout=9)); tell(claude.copy()); None", "c1")
    rows_of(proxy, kernel, 4, cell_id="c1")
    kernel.run("%ultimate off")
    told = kernel.run(
        "result([str(gpt.base_url), gpt.api_key, str(claude.base_url).rstrip('/'), claude.api_key, "
        "[n for n in os.environ if n.startswith(('OPENAI', 'ANTHROPIC'))]])"
    ).value
    assert told == ["https://api.openai.com/v1/", "", "https://api.anthropic.com", None, []]
    assert "authentication" in kernel.fail("ask(gpt)").error
    assert "authentication" in kernel.fail("tell(claude)").error
    assert "Missing credentials" in kernel.fail("openai.OpenAI()").error


def test_our_key_goes_nowhere_else(keyed: Kernel, proxy: Running) -> None:
    keyed.run(MADE + "%load_ext ultimate_lib")
    told = keyed.run(
        "gpt, claude = openai.OpenAI(api_key='sk-own'), anthropic.Anthropic(api_key='sk-ant-own')\n"
        "elsewhere = [openai.OpenAI(base_url='http://g.test/v1'), anthropic.Anthropic(base_url='http://g.test'),"
        " gpt.with_options(base_url='http://g.test/v1'), claude.with_options(base_url='http://g.test')]\n"
        "result([[str(c.base_url), c.api_key] for c in elsewhere])"
    ).value
    assert [key for _, key in told] == ["sk-openai-environment", "sk-ant-environment", "sk-own", "sk-ant-own"]
    assert all(url.startswith("http://g.test") for url, _ in told)


def test_no_key_of_a_provider_goes_to_the_proxy(keyed: Kernel, proxy: Running) -> None:
    """A proxy that refuses foreign keys serves calls whose key was changed, or came with a header, after leading."""
    keyed.run(MADE + "gpt, claude = openai.OpenAI(), anthropic.Anthropic()\n%load_ext ultimate_lib")
    keyed.run(
        "gpt.api_key = 'sk-changed'; ask(gpt)\nclaude.api_key = 'sk-ant-changed'; tell(claude)\n"
        "headers = openai.OpenAI(default_headers={'Authorization': 'Bearer sk-header'}); ask(headers)\n"
        "seen = []\nclass Look(httpx2.HTTPTransport):\n    def handle_request(self, request):\n"
        "        seen.append(str(request.headers)); return super().handle_request(request)\n"
        "own = openai.OpenAI(api_key='sk-own', http_client=httpx2.Client(transport=Look())); ask(own)\n"
        "own.chat.completions.create(model=GPT, messages=said(), extra_headers={'Authorization': 'Bearer sk-extra'})",
        "c1",
    )
    rows_of(proxy, keyed, 5, cell_id="c1")
    assert keyed.run("result(['sk-' in told for told in seen])").value == [False, False]
    keyed.run("%ultimate off")
    assert keyed.run("result([gpt.api_key, claude.api_key])").value == ["sk-changed", "sk-ant-changed"]


def test_the_packages_own_module_client(kernel: Kernel, proxy: Running) -> None:
    kernel.run(OPENAI + "openai.api_key = 'sk-module'\n%load_ext ultimate_lib")
    kernel.run("_ = openai.chat.completions.create(model=GPT, messages=said())", "c1")
    rows_of(proxy, kernel, 1, cell_id="c1")
    kernel.run("%ultimate off")
    assert kernel.run("result([openai.api_key, str(openai._client.base_url)])").value == [
        "sk-module", "https://api.openai.com/v1/",
    ]  # fmt: skip


def test_somebodys_own_gateway_in_the_environment_is_left_and_told(tmp_path: Path, proxy: Running) -> None:
    own = {"OPENAI_BASE_URL": "http://gateway.test/v1", "OPENAI_API_KEY": "sk-gateway"}
    with start_kernel(tmp_path / "home", proxy, own) as kernel:
        loaded = kernel.run("import os\n%load_ext ultimate_lib")
        assert "OPENAI_BASE_URL points to http://gateway.test/v1 and is left" in loaded.stdout
        kernel.run(CLIENTS + "gpt, claude = openai.OpenAI(), anthropic.Anthropic()")
        told = kernel.run("result([str(gpt.base_url), gpt.api_key, os.environ['OPENAI_API_KEY']])").value
        assert told == ["http://gateway.test/v1/", "sk-gateway", "sk-gateway"]
        kernel.run("tell(claude); None", "c1")
        rows_of(proxy, kernel, 1, cell_id="c1")
        status = kernel.run("%ultimate").stdout
        assert "openai.OpenAI at http://gateway.test/v1/ points to its own address and is left as it is." in status
        assert "OPENAI_BASE_URL points to http://gateway.test/v1 and is left" in status


def test_clients_that_their_makers_pointed_to_the_proxy_stay(kernel: Kernel, proxy: Running) -> None:
    make = f"openai.OpenAI(api_key={proxy.key!r}, base_url='{proxy.url}/v1')"
    kernel.run(MADE + f"first = {make}\nbefore = facts(first)\n%load_ext ultimate_lib\nsecond = {make}")
    kernel.run("ask(first); ask(second); None", "c1")
    rows_of(proxy, kernel, 2, cell_id="c1")
    assert kernel.run("%ultimate off\nresult([facts(first) == before, facts(second) == before])").value == [
        True,
        True,
    ]


def test_copies_made_behind_our_back_are_restored(keyed: Kernel) -> None:
    keyed.run(
        MADE + "import copy\n%load_ext ultimate_lib\ngpt = openai.OpenAI(api_key='sk-own')\ncopied = copy.copy(gpt)"
    )
    told = keyed.run("%ultimate off\nresult([str(copied.base_url), copied.api_key])").value
    assert told == ["https://api.openai.com/v1/", "sk-openai-environment"], "its own key is not known"


def test_loading_twice_reloading_unloading(kernel: Kernel, proxy: Running) -> None:
    before = kernel.run(MADE + "result([variables(), patched()])").value
    first = kernel.run("%load_ext ultimate_lib").stdout
    assert first.count("\n") == 1
    kernel.run("%load_ext ultimate_lib\nimport ultimate_lib\nultimate_lib.load_ipython_extension(get_ipython())")
    kernel.run("%reload_ext ultimate_lib\n%reload_ext ultimate_lib\ngpt = openai.OpenAI()")
    output = kernel.run("ask(gpt); None", "c1")
    assert output.line.startswith("1 call")
    rows_of(proxy, kernel, 1)
    kernel.run("%unload_ext ultimate_lib\nultimate_lib.unload_ipython_extension(get_ipython())")
    assert kernel.run("result([variables(), patched()])").value == before
    assert "not found" in kernel.run("%ultimate").stderr
    assert kernel.run("%load_ext ultimate_lib").stdout.startswith("Calls from this notebook go through ")


def test_packages_imported_later_follow(kernel: Kernel, proxy: Running) -> None:
    kernel.run("%load_ext ultimate_lib")
    told = kernel.run(
        "heavy = ('openai', 'anthropic', 'httpx', 'httpx2', 'polars', 'ultimate_lib.settings', 'requests')\n"
        "import sys; result([name for name in heavy if name in sys.modules])"
    ).value
    assert told == [], "loading is light"
    kernel.run(CLIENTS + "gpt = openai.OpenAI(api_key='sk-own')\nask(gpt)", "c1")
    rows_of(proxy, kernel, 1, cell_id="c1")

"""What loading says when all is well, and when it is not: clients untouched, the cell does not fail."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Running
from tests.kernel.fakes import VERIFIED, VERSION, serve
from tests.kernel.kernels import CLIENTS, OPENAI, Kernel, rows_of, start_kernel
from tests.stopwatch import Stopwatch

CHECK = "told = [n for n in os.environ if n.startswith('OPENAI')]\n"
CHECK += "result([str(gpt.base_url), gpt.api_key, str(claude.base_url), told])"
UNTOUCHED = ["https://api.openai.com/v1/", "sk-own", "https://api.anthropic.com", []]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def unled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel with clients that were never led anywhere: a load that fails leaves it as it was."""
    with start_kernel(tmp_path_factory.mktemp("home"), None) as kernel:
        kernel.run(
            CLIENTS + "import os\ngpt, claude = openai.OpenAI(api_key='sk-own'), anthropic.Anthropic(api_key='a')"
        )
        yield kernel


def said_at_load(kernel: Kernel, url: str, key: str = "cp_wrong") -> str:
    """Load the extension where it cannot route, look that nothing was touched, return what was said."""
    kernel.run(f"os.environ.update(CLAUDE_PROXY_URL={url!r}, CLAUDE_PROXY_API_KEY={key!r})")
    with Stopwatch() as took:
        output = kernel.run("%load_ext ultimate_lib")
    assert took.seconds < 4, "a second for the proxy; a slow one is silent for five"
    assert not output.stdout
    assert output.stderr.startswith("LLM calls of this notebook do NOT go through the Ultimate Proxy")
    assert output.stderr.endswith(" Then `%ultimate on`.\n")
    assert output.stderr.count("\n") == 1
    assert kernel.run(CHECK).value == UNTOUCHED
    status = kernel.run("%ultimate").stdout
    assert status.startswith("Calls are not routed.")
    assert "`%ultimate on` routes them." in status
    asked = kernel.run("%ultimate cost")
    assert "Calls are not routed." in asked.stderr
    kernel.run("%unload_ext ultimate_lib")
    return output.stderr


def test_no_proxy(unled: Kernel) -> None:
    told = said_at_load(unled, f"http://127.0.0.1:{free_port()}")
    assert "No proxy answers at http://127.0.0.1:" in told
    assert "`ultimate-proxy up`" in told


def test_a_slow_proxy(unled: Kernel) -> None:
    with serve({}, silence_s=5.0) as server:
        told = said_at_load(unled, server.url)
    assert "did not answer within 1.0 s" in told


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            (200, {"version": "9.0", "api": 9, "demo": False}),
            "speaks interface 9, this library 1. Install the same version",
        ),
        ((404, {"error": {"code": "not_found"}}), "is no Ultimate Proxy, or an older one. Set CLAUDE_PROXY_URL"),
        ((200, "<html>hello</html>"), "is no Ultimate Proxy, or an older one. Set CLAUDE_PROXY_URL"),
        ((200, [1]), "is no Ultimate Proxy, or an older one. Set CLAUDE_PROXY_URL"),
        ((502, "bad gateway"), "is no Ultimate Proxy, or an older one. Set CLAUDE_PROXY_URL"),
    ],
)
def test_another_version_or_something_else(unled: Kernel, answer: tuple[int, object], expected: str) -> None:
    with serve({"/api/version": answer}) as server:
        assert expected in said_at_load(unled, server.url)


def test_no_key_and_a_refused_key(unled: Kernel, proxy: Running) -> None:
    assert "There is no key for the proxy at" in said_at_load(unled, proxy.url, "")
    told = said_at_load(unled, proxy.url, "cp_" + "x" * 43)
    assert "refuses the key that was found (cp_xxxx…)" in told
    assert "xxxxx" not in told, "a key is never told"


def test_a_key_that_may_not_call(unled: Kernel) -> None:
    verified = {**VERIFIED, "permissions": ["analytics:view"]}
    with serve({"/api/version": (200, VERSION), "/api/auth/verify": (200, verified)}) as server:
        assert "Use a key with the scope proxy:call." in said_at_load(unled, server.url)


def test_a_broken_configuration_file(tmp_path: Path) -> None:
    (tmp_path / ".claude_proxy").mkdir()
    (tmp_path / ".claude_proxy" / "config.json").write_text("{", encoding="utf-8")
    with start_kernel(tmp_path, None) as kernel:
        assert "config.json cannot be read" in kernel.run("%load_ext ultimate_lib").stderr


def test_on_again_once_the_proxy_is_there(tmp_path: Path, proxy: Running) -> None:
    with start_kernel(tmp_path, None, {"CLAUDE_PROXY_URL": f"http://127.0.0.1:{free_port()}"}) as kernel:
        kernel.run(OPENAI + "import os\ngpt = openai.OpenAI(api_key='sk-own')\n%load_ext ultimate_lib")
        kernel.run(f"os.environ.update(CLAUDE_PROXY_URL={proxy.url!r}, CLAUDE_PROXY_API_KEY={proxy.key!r})")
        told = kernel.run("%ultimate on").stdout
        assert told.startswith(
            f"Calls from this notebook go through {proxy.url} (demo data), 1 existing client included."
        )
        kernel.run("ask(gpt); None", "c1")
        rows_of(proxy, kernel, 1, cell_id="c1")


def test_the_local_file_of_a_demo_is_found(tmp_path: Path, proxy: Running) -> None:
    with start_kernel(tmp_path, None, {"ULTIMATE_DATA_FOLDER": str(proxy.data_dir)}) as kernel:
        assert kernel.run("%load_ext ultimate_lib").stdout.startswith(
            f"Calls from this notebook go through {proxy.url}"
        )


def test_a_failure_of_ours_does_not_fail_the_cell(kernel_with_a_fault: Kernel) -> None:
    kernel = kernel_with_a_fault
    first = kernel.run("gpt = openai.OpenAI(api_key='sk-own')\nresult(ask(gpt).usage.total_tokens)")
    assert first.value > 0
    second = kernel.run("result(ask(gpt).usage.total_tokens)")
    assert second.value > 0
    both = first.stderr + second.stderr
    assert both.count("The Ultimate Proxy extension failed in Traffic._begin; your cell is not affected.") == 1
    assert "RuntimeError: planted" in both


@pytest.fixture
def kernel_with_a_fault(tmp_path: Path, proxy: Running):  # noqa: ANN201 - a fixture
    with start_kernel(tmp_path, proxy) as kernel:
        kernel.run(
            OPENAI + "from ultimate_lib.kernel import notebook\ndef broken(*_): raise RuntimeError('planted')\n"
            "%load_ext ultimate_lib\nnotebook.Notebook.path = property(broken)"
        )
        yield kernel

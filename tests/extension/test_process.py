"""Starting and stopping a real proxy through the routes, and what is said when it does not come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from claude_proxy import places
from jupyterlab_ultimate_proxy import state
from jupyterlab_ultimate_proxy.process import launch
from tests.extension.conftest import Scripted
from tests.extension.test_routes import Fetch, refused, shared, unused
from tests.harness import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """The data folder of the proxy that a test starts; nothing runs there afterwards."""
    folder = tmp_path / "proxy"
    yield folder
    for path in folder.glob("**/supervisor.pid"):
        text = path.read_text().strip()
        if text.isdigit() and psutil.pid_exists(int(text)):
            os.kill(int(text), signal.SIGTERM)
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(text)).wait(20)


async def test_start_and_stop(
    jp_fetch: Fetch, jp_serverapp: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://127.0.0.1:{unused()}")
    status, error = await refused(jp_fetch("ultimate-proxy", "stop", method="POST", body="{}"))
    assert (status, error["code"]) == (409, "not_ours")

    started = json.loads((await jp_fetch("ultimate-proxy", "start", method="POST", body="{}")).body)
    assert (started["state"], started["can_stop"]) == ("running", True), started
    wait_until(lambda: (data / "run" / "supervisor.pid").read_text().strip().isdigit(), 10)
    pid = int((data / "run" / "supervisor.pid").read_text())
    assert os.getsid(pid) != os.getsid(0), "Ctrl-C in JupyterLab's terminal is not for the proxy"
    log = data / "started-by-jupyterlab.log"
    assert log.stat().st_mode & 0o077 == 0
    assert "link=" not in log.read_text(), "no link that signs in lies about"

    again = json.loads((await jp_fetch("ultimate-proxy", "start", method="POST", body="{}")).body)
    assert again["reachable"] is True
    assert int((data / "run" / "supervisor.pid").read_text()) == pid, "what runs is not started twice"

    stopped = json.loads(
        (await jp_fetch("ultimate-proxy", "stop", method="POST", body="{}", request_timeout=40)).body
    )
    assert (stopped["state"], stopped["can_start"], stopped["can_stop"]) == ("unreachable", True, False)
    for process in shared(jp_serverapp).process._started:  # what had not quite ended by then
        process.wait(20)


async def test_a_configuration_in_the_folder_of_jupyterlab_has_no_say(
    jp_fetch: Fetch, jp_serverapp: Any, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else's repository, in which JupyterLab was started, must not say where this user's keys go."""
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "ultimate.toml").write_text('[providers.anthropic]\nbase_url = "http://evil.example"\n')
    monkeypatch.chdir(clone)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-mine")
    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://127.0.0.1:{unused()}")
    started = json.loads((await jp_fetch("ultimate-proxy", "start", method="POST", body="{}")).body)
    assert started["state"] == "running", started
    told = json.loads((await jp_fetch("ultimate-proxy", "api", "providers")).body)
    address = {one["name"]: (one["base_url"], one["key_source"]) for one in told}["anthropic"]
    assert address == ("https://api.anthropic.com", "variable ANTHROPIC_API_KEY")
    (clone / "ultimate.toml").write_text("nonsense = [")
    stopped = json.loads(
        (await jp_fetch("ultimate-proxy", "stop", method="POST", body="{}", request_timeout=40)).body
    )
    assert stopped["state"] == "unreachable", stopped
    for process in shared(jp_serverapp).process._started:
        process.wait(20)


def test_the_usual_address_leaves_the_port_to_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **told: run.append((command, told)))
    monkeypatch.setenv("ULTIMATE_DATA_FOLDER", str(tmp_path))
    monkeypatch.setenv("CLAUDE_PROXY_HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_PROXY_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ULTIMATE_CONFIG", "mine.toml")
    launch(places.find(), tmp_path / "log")
    launch(places.find("http://127.0.0.1:9000"), tmp_path / "log")
    assert "--port" not in run[0][0]
    assert run[1][0][-2:] == ["--port", "9000"]
    assert run[0][1]["env"]["ULTIMATE_CONFIG"] == str(tmp_path / "mine.toml"), "as it is meant from here"


async def test_a_start_that_fails_tells_why(
    jp_fetch: Fetch, jp_serverapp: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://127.0.0.1:{unused()}")
    monkeypatch.setenv("ULTIMATE_CONFIG", str(data.parent / "missing.toml"))
    status, error = await refused(jp_fetch("ultimate-proxy", "start", method="POST", body="{}"))
    assert (status, error["code"]) == (500, "start_failed")
    assert "missing.toml" in error["message"]
    assert "started-by-jupyterlab.log" in error["hint"]


async def test_a_start_that_takes_too_long_says_so(
    jp_fetch: Fetch, jp_serverapp: Any, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "never").mkdir()
    (tmp_path / "never" / "proxy_server.py").write_text(
        "import sys, time\nprint('Still thinking.', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "never"))
    monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://127.0.0.1:{unused()}")
    monkeypatch.setattr(shared(jp_serverapp).process, "_start_s", 2.0)
    status, error = await refused(jp_fetch("ultimate-proxy", "start", method="POST", body="{}"))
    assert (status, error["code"]) == (504, "start_slow")
    assert "Still thinking." in error["message"]
    for process in shared(jp_serverapp).process._started:
        process.kill()
        process.wait()


async def test_nothing_is_started_on_another_computer_or_over_something_else(
    jp_fetch: Fetch, proxy: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    proxy.answers["/api/version"] = {"detail": "another program"}
    told = json.loads((await jp_fetch("ultimate-proxy", "start", method="POST", body="{}")).body)
    assert told["state"] == "other_version"
    with socket.socket() as listener:  # an address of this network that refuses at once
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CLAUDE_PROXY_URL", f"http://[::ffff:192.0.2.1]:{listener.getsockname()[1]}")
        monkeypatch.setattr("jupyterlab_ultimate_proxy.upstream.CONNECT_S", 0.1)
        status, error = await refused(jp_fetch("ultimate-proxy", "start", method="POST", body="{}"))
    assert (status, error["code"]) == (409, "cannot_start")


@pytest.mark.parametrize("ours", [True, False])
def test_it_tells_whether_jupyterlab_ends_with_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    url = "http://127.0.0.1:8082"
    (tmp_path / "run").mkdir()
    (tmp_path / "local.json").write_text(json.dumps({"url": url, "key": "cp_x"}))
    (tmp_path / "run" / "supervisor.pid").write_text(f"{os.getppid() if ours else os.getpid()}\n")
    monkeypatch.setenv("ULTIMATE_DATA_FOLDER", str(tmp_path))
    told = state._abilities("running", places.Place(url, "cp_x", "test"))
    assert (told["can_stop"], told["ends_lab"]) == (True, ours)

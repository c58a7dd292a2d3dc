"""Starting and stopping: what is printed, what is refused in a sentence, and that nobody is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import polars as pl
import psutil
import pytest

from tests.faults.ledger import rows
from tests.harness import ROOT, Running, await_start, environment, launch, start_proxy, wait_until
from tests.stopwatch import Stopwatch

CALL = {"model": "demo/claude-sonnet-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}


def call(proxy: Running, **body: object) -> dict[str, object]:
    request = urllib.request.Request(
        f"{proxy.url}/v1/messages", data=json.dumps({**CALL, **body}).encode(), headers={"x-api-key": proxy.key}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def refused(folder: Path, *arguments: str, config: str = "", env: dict[str, str] | None = None) -> tuple[int, str]:
    """Start what cannot start, and return its status and what it said."""
    file = folder / "ultimate.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "proxy_server", "--port", "0", "--config", str(file)]
    if "--data" not in arguments:
        command += ["--data", str(folder / "data")]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment(folder, env), capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip()


def check_cpu(proxy: Running, took: Stopwatch, kind: str) -> None:
    """Check that what a start and a first call have cost is little; the demo's process starts with that call."""
    wall = took.seconds
    gateway = psutil.Process(proxy.pids("gateway")[0])
    cpu = sum(gateway.cpu_times()[:2]) + sum(psutil.Process(proxy.process.pid).cpu_times()[:2])
    assert cpu <= 2.0, f"{kind} start: {cpu:.2f} s CPU, {wall:.2f} s"
    assert wall <= 10.0


def test_a_start_prints_where_everything_is_and_a_stop_leaves_nobody(tmp_path: Path) -> None:
    """Within two seconds of CPU time and no wait: the first start, and one that finds all of it there."""
    with Stopwatch() as took, start_proxy(tmp_path) as proxy:
        assert call(proxy)["usage"]["output_tokens"] == 12
        check_cpu(proxy, took, "first")
        assert str(proxy.data_dir) in proxy.said
        assert str(proxy.config_path) in proxy.said
        assert f"{proxy.url}/login?link=" in proxy.said
        children = psutil.Process(proxy.process.pid).children(recursive=True)
        assert {"gateway", "demo"} <= {role for role in ("gateway", "demo") if proxy.pids(role)}
        assert proxy.stop() == 0
        assert not psutil.wait_procs(children, timeout=20)[1]
    assert (proxy.data_dir.stat().st_mode & 0o777, (proxy.data_dir / "local.json").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    assert not list(proxy.data_dir.glob("journal/slot-0/*/*.open")), "every segment is sealed"
    with Stopwatch() as took, start_proxy(tmp_path) as proxy:
        call(proxy)
        check_cpu(proxy, took, "later")
        status, said = refused(tmp_path)  # no two share a data folder
        assert status == 1
        assert f"process {proxy.process.pid}" in said
        assert "--data" in said


def test_the_demo_child_starts_when_it_is_asked_for_and_all_die_with_their_supervisor(tmp_path: Path) -> None:
    with start_proxy(tmp_path) as proxy:
        assert proxy.pids("demo") == []
        call(proxy)
        (first,) = proxy.pids("demo")
        wait_until(lambda: f"demo-0 serves (process {first})" in proxy.log(), 20, proxy)  # or nobody may learn it
        os.kill(first, signal.SIGKILL)
        proxy.wait_until_replaced("demo", first)
        assert call(proxy)["type"] == "message"
        children = psutil.Process(proxy.process.pid).children(recursive=True)
        assert len(children) >= 2
        proxy.process.kill()
        assert not psutil.wait_procs(children, timeout=20)[1]


def test_the_demo_flag_starts_it_with_a_data_folder_of_its_own(tmp_path: Path) -> None:
    proxy = launch(tmp_path, arguments=["--demo"])
    try:
        await_start(proxy)
        assert str(proxy.data_dir / "demo") in proxy.said
        assert (proxy.data_dir / "demo" / "local.json").exists()
        wait_until(lambda: proxy.pids("demo"), 20, proxy)
    finally:
        proxy.stop()


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = refused(tmp_path, "--port", str(port))
        assert status == 1
        assert f"127.0.0.1:{port} cannot be taken" in said
        assert "--port" in said
        assert f"Process {os.getpid()}" in said


def test_an_address_that_is_not_of_this_machine_is_a_sentence(tmp_path: Path) -> None:
    status, said = refused(tmp_path, "--bind", "203.0.113.9", "--insecure-http", "--port", "0")
    assert (status, "203.0.113.9 cannot be listened on" in said, "--bind" in said) == (1, True, True), said


def test_a_port_that_another_proxy_shares_among_its_gateways_is_taken_too(tmp_path: Path) -> None:
    with start_proxy(tmp_path / "one", arguments=["--gateways", "2"]) as proxy:
        assert len(proxy.pids("gateway")) == 2
        (tmp_path / "two").mkdir()
        status, said = refused(tmp_path / "two", "--port", proxy.url.rpartition(":")[2], "--gateways", "2")
    assert status == 1
    assert "cannot be taken" in said


@pytest.mark.parametrize("folder", ["/proc/nowhere", "file/below"])
def test_an_unwritable_folder_is_a_sentence(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("a file, no folder")
    status, said = refused(tmp_path, "--data", str(tmp_path / folder))
    assert status == 1
    assert "cannot be written" in said
    assert "--data" in said


def test_a_wrong_configuration_names_file_line_and_value(tmp_path: Path) -> None:
    status, said = refused(tmp_path, config='[server]\nport = 8082\ngateways = "many"\n')
    assert status == 1
    assert f"{tmp_path / 'ultimate.toml'}:3" in said
    assert "many" in said


def test_a_provider_without_its_key_is_a_sentence(tmp_path: Path) -> None:
    status, said = refused(tmp_path, config='[providers.openai]\napi_key_env = "MY_KEY"\n')
    assert (status, "MY_KEY" in said) == (1, True)
    status, said = refused(tmp_path, env={"OPENAI_API_KEY": "cp_" + "x" * 43})
    assert (status, "OPENAI_API_KEY" in said, "cp_" + "x" * 43 in said) == (1, True, False)


def test_a_tier_that_nobody_serves_is_a_sentence(tmp_path: Path) -> None:
    config = "[tiers]\nsmall = 'opnai/gpt-4o'\n[providers.vllm]\n[providers.ollama]\n"
    status, said = refused(tmp_path, config=config)
    assert (status, ":2: tiers.small = 'opnai/gpt-4o'" in said, "'openai/gpt-4o'?" in said) == (1, True, True), said


def test_a_public_address_needs_tls_or_a_word(tmp_path: Path) -> None:
    status, said = refused(tmp_path, "--bind", "0.0.0.0")
    assert (status, "--insecure-http" in said) == (1, True)
    keyless = "[providers.openai]\n"  # no fault of a start: a key may be entered later
    with start_proxy(
        tmp_path / "allowed", config=keyless, arguments=["--bind", "0.0.0.0", "--insecure-http"]
    ) as proxy:
        assert call(proxy)["type"] == "message"
        wait_until(lambda: "The provider 'openai' has no key" in proxy.log(), 20, proxy)


def test_one_kind_of_process_runs_alone_and_drains(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy_server", "--port", "0", "--data", str(tmp_path / "data")]
    command += ["--role", "gateway"]
    with (tmp_path / "stderr.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        local = json.loads((tmp_path / "data" / "local.json").read_text())
        assert local["url"] == url
        wait_until(lambda: answers(f"{url}/health"), 20)
        with pytest.raises(urllib.error.HTTPError) as away:
            urllib.request.urlopen(f"{url}/", timeout=5)
        assert away.value.code == 503
        away.value.close()
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_wrong_option_is_usage(tmp_path: Path) -> None:
    assert refused(tmp_path, "--gateways", "none")[0] == 2
    assert refused(tmp_path, "--nonsense")[0] == 2


def listens(proxy: Running) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", int(proxy.url.rpartition(":")[2]))) == 0


def test_a_stop_lets_open_calls_end_and_a_second_ctrl_c_does_not(tmp_path: Path) -> None:
    for interrupts, ends_well, after_ms in ((1, True, 1500), (2, False, 20_000)):
        script = f'script: {{"first_delay_ms": {after_ms}}}'
        slow = [{"role": "user", "content": script}]
        with contextlib.ExitStack() as watched, start_proxy(tmp_path / str(interrupts)) as proxy:
            call(proxy)
            asked = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
            body = json.dumps({**CALL, "messages": slow}).encode()
            head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: {proxy.key}\r\n"
            asked.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: b'"intent"' in _journal(proxy).rpartition(b'"k":"call"')[2], 5, proxy)
            took = watched.enter_context(Stopwatch())
            for _ in range(interrupts):
                proxy.process.send_signal(signal.SIGINT)
                wait_until(lambda: not listens(proxy), 10, proxy)  # it has heard it
            asked.settimeout(10)
            answer = b""
            try:
                while piece := asked.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            assert answer.startswith(b"HTTP/1.1 200") is ends_well
            proxy.process.wait(20)
            if not ends_well:
                assert took.seconds < 5
            asked.close()


def _journal(proxy: Running) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(proxy.data_dir.glob("journal/slot-*/*/*.open")))


def test_a_call_that_a_stop_cannot_wait_for_is_told_so_and_leaves_its_row(tmp_path: Path) -> None:
    stalled = {**CALL, "stream": True, "messages": [{"role": "user", "content": 'script: {"stall_after": 3}'}]}
    with start_proxy(tmp_path, config="[server]\ndrain_s = 0.5\n") as proxy:
        call(proxy)
        with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10) as asked:
            body = json.dumps(stalled).encode()
            head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: {proxy.key}\r\n"
            asked.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = asked.recv(65536)
            proxy.process.send_signal(signal.SIGTERM)
            while piece := asked.recv(65536):
                answer += piece
        proxy.process.wait(20)
        assert b"event: error" in answer
        assert b"waited 0.5 s" in answer
        found = rows(proxy.data_dir).filter(pl.col("error_type") == "proxy_stops")
        assert found.select("status", "stream").rows() == [("error", True)]


def test_a_process_that_ends_again_as_soon_as_it_serves_is_started_after_a_pause(tmp_path: Path) -> None:
    with start_proxy(tmp_path) as proxy:
        told = "as did the one before. It is started again in 0.5 s"
        for _ in range(10):  # at most: a busy machine may let one live for longer
            *_, old = re.findall(r"gateway-0 serves \(process (\d+)\)", proxy.log())
            os.kill(int(old), signal.SIGKILL)
            proxy.wait_until_replaced("gateway", int(old))
            if told in proxy.log():
                break
        assert told in proxy.log()
        call(proxy)

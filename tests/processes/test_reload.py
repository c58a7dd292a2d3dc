"""Reloading: new settings are taken, bad ones refused, and a crashed child comes back with the last good ones."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness import ROOT, Running, environment, start_proxy, wait_until
from tests.stopwatch import Stopwatch

LIMITED = "[limits]\nheader_bytes = 4096\n"


def header_limit(proxy: Running) -> int:
    """Find out which of two limits is in force."""
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/health", headers={"X-Fill": "x" * 5000})
    status = connection.getresponse().status
    connection.close()
    return 4096 if status == 431 else 32768


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy that keeps its settings, whatever becomes of its file."""
    with start_proxy(tmp_path_factory.mktemp("limited"), config=LIMITED) as proxy:
        yield proxy


def test_a_reload_takes_new_settings_with_new_processes_and_says_what_it_cannot_take(tmp_path: Path) -> None:
    with start_proxy(tmp_path) as proxy:
        (old,) = proxy.pids("gateway")
        assert header_limit(proxy) == 32768
        proxy.reload(f"[server]\ngateways = 3\n{LIMITED}")
        assert "server.gateways changed: restart" in proxy.log()
        assert header_limit(proxy) == 4096
        wait_until(lambda: old not in proxy.pids("gateway"), 20, proxy)
        wait_until(lambda: len(proxy.pids("gateway")) == 1, 20, proxy)
        assert psutil.pid_exists(proxy.process.pid)


def test_a_gateway_that_cannot_start_with_new_settings_leaves_the_old_one_in_place(limited: Running) -> None:
    (old,) = limited.pids("gateway")
    said = len(limited.log())
    certificate = limited.config_path.with_name("no.pem")
    certificate.write_text("not a certificate")
    limited.reload(f'[server]\ntls_cert = "{certificate}"\ntls_key = "{certificate}"\n')
    assert "The reload is refused" in limited.log()[said:]
    assert "the certificate and its key cannot be used" in limited.log()[said:]
    assert header_limit(limited) == 4096
    wait_until(lambda: limited.pids("gateway") == [old], 20, limited)  # the one that could not start has left


def test_a_bad_configuration_is_refused_and_the_last_good_one_outlives_a_crash(limited: Running) -> None:
    (old,) = limited.pids("gateway")
    said = len(limited.log())
    limited.reload("[limits]\nheader_bytes = -5\n")
    assert "The reload is refused" in limited.log()[said:]
    assert "header_bytes" in limited.log()[said:]
    assert limited.pids("gateway") == [old]
    with Stopwatch() as took:
        os.kill(old, signal.SIGKILL)
        assert header_limit(limited) == 4096, "a connection waits while a gateway comes back"
    assert took.seconds < 5
    assert "ended by signal SIGKILL; it is started again" in limited.log()
    limited.wait_until_replaced("gateway", old)


def test_the_commands_speak_to_the_supervisor(tmp_path: Path) -> None:
    def command(name: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "proxy_server", name, "--config", tmp_path / "ultimate.toml", "--data",
             tmp_path / "data"],
            cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    with start_proxy(tmp_path) as proxy:
        (old,) = proxy.pids("gateway")
        assert command("status") == (0, f"Process {proxy.process.pid} runs. Data folder {proxy.data_dir}\n")
        assert command("reload")[0] == 0
        wait_until(lambda: "Reloaded" in proxy.log(), 30, proxy)
        assert proxy.pids("gateway") != [old]
        assert command("stop")[0] == 0
        assert proxy.process.wait(20) == 0
        assert command("status")[0] == 1
        status, said = command("stop")
        assert (status, "No proxy runs" in said) == (1, True)

"""Promise 13: nothing leaves but to configured providers. A whole proxy in a network that has loopback alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, environment

_INSIDE = """
import json, socket, subprocess, sys, urllib.request
from pathlib import Path
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
from tests.harness import start_proxy, wait_until
told = {}
with start_proxy(Path(sys.argv[1]), arguments=["--demo", "--demo-data"]) as proxy:
    def ask(path, body=None):
        headers = {"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(proxy.url + path, data, headers), timeout=60) as reply:
            return reply.read()
    call = {"model": "demo/claude-sonnet-4-5", "messages": [{"role": "user", "content": "hello"}]}
    told["answered"] = bool(json.loads(ask("/v1/chat/completions", call))["choices"])
    told["pages"] = [len(ask(path)) for path in ("/", "/calls", "/docs", "/login", "/dashboards/overview")]
    lake = "/api/analytics/aggregate?metrics=requests"
    wait_until(lambda: json.loads(ask(lake))["rows"][0]["requests"] > 0, 60, proxy)
    told["providers"] = len(json.loads(ask("/api/providers")))
    told["interfaces"] = sorted(name for _, name in socket.if_nameindex())
    told["log"] = proxy.log()
print("TOLD " + json.dumps(told))
"""
_CALLS = "connect,sendto,sendmsg,sendmmsg"
_ADDRESS = re.compile(r'sa_family=(AF_\w+)(?:.*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"))?')


def _needed() -> str:
    """Return what is missing for a network of one's own, in words."""
    for program, package in (("unshare", "util-linux"), ("strace", "strace"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            return f"apt-get install {package}"
    tried = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True, timeout=10)
    return "" if tried.returncode == 0 else "an account that may make a network namespace (root)"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_a_whole_proxy_works_without_a_network_and_tries_to_reach_nothing(tmp_path: Path) -> None:
    if missing := _needed():
        pytest.skip(f"needs {missing}")
    trace = tmp_path / "trace"
    command = ["unshare", "-n", "strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={_CALLS}", "-o", str(trace)]
    inside = [sys.executable, "-c", _INSIDE, str(tmp_path / "proxy")]
    done = subprocess.run(
        [*command, *inside],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-5000:] + done.stdout[-2000:]
    told = json.loads(done.stdout.partition("TOLD ")[2])
    assert told["answered"]
    assert told["interfaces"] == ["lo"]
    assert min(told["pages"]) > 1000
    assert '"level": "error"' not in told["log"]
    reached = targets(trace.read_text(errors="replace"))
    assert ("AF_INET", "127.0.0.1") in reached, "else the trace says nothing"
    assert {one for one in reached if not is_here(*one)} == set()


def targets(trace: str) -> set[tuple[str, str]]:
    """Return the families and addresses that were connected or sent to."""
    found = set()
    for line in trace.splitlines():
        for family, four, six in _ADDRESS.findall(line):
            found.add((family, four or six))
    return found


def is_here(family: str, address: str) -> bool:
    """Say whether that is this computer: loopback, a local socket, or the kernel."""
    return family in {"AF_UNIX", "AF_NETLINK", "AF_UNSPEC"} or address.startswith("127.") or address == "::1"


def test_the_trace_is_read_right() -> None:
    line = (
        '7 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = -1 ENETUNREACH'
    )
    assert [is_here(*one) for one in targets(line)] == [False]
    six = "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
    six += 'inet_pton(AF_INET6, "2606::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH'
    assert targets(six) == {("AF_INET6", "2606::1")}
    here = '7 connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0'
    assert [is_here(*one) for one in targets(here)] == [True]
    assert os.linesep == "\n"

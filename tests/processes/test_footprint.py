"""What the processes weigh, and what a gateway must never load."""

from __future__ import annotations

import importlib
from pathlib import Path

import psutil
import pytest

from tests.harness import start_proxy
from tests.processes.test_start_stop import call

FRAME_LIBRARIES = ("polars", "pyarrow", "deltalake", "pandas")
MIB = 1024 * 1024


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_gateway_holds_no_frame_library_and_little_memory(tmp_path: Path) -> None:
    with start_proxy(tmp_path) as proxy:
        for _ in range(3):
            call(proxy)
            call(proxy, stream=False)
        (gateway,) = proxy.pids("gateway")
        for pid in (gateway, proxy.process.pid):
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
            assert [name for name in FRAME_LIBRARIES if name in maps] == []
        assert psutil.Process(gateway).memory_info().rss <= 90 * MIB
        assert psutil.Process(proxy.process.pid).memory_info().rss <= 60 * MIB


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_the_search_for_frame_libraries_finds_each() -> None:
    for name in ("deltalake", "polars", "pyarrow"):
        importlib.import_module(name)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert {"polars", "pyarrow", "deltalake"} <= {name for name in FRAME_LIBRARIES if name in maps}

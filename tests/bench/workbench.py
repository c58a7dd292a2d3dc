"""What people wait for in JupyterLab: the panel's row of a call, the line under its cell, the extension in a kernel.

    python -m tests.bench.workbench [--quick]

A whole proxy with `--lab`, a real kernel, Debian's Chromium. Times are wall time: of a person who waits.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from playwright.sync_api import Error as PageError
from playwright.sync_api import Page

from proxy_server.lab.lab import environment as lab_environment
from tests.bench.figures import Figure, emit
from tests.bench.gateway import cpu_s
from tests.browser.browsing import chromium, watched
from tests.harness import Running, environment, start_proxy
from ultimate_lib.settings import load

NOTEBOOK = "bench.ipynb"
LOAD = "%load_ext ultimate_lib"
CALL = """hello = [{{"role": "user", "content": "hi"}}]
client.messages.create(model="demo/{model}", max_tokens=9, messages=hello).id"""
TIMED_LOAD = """import time
began = time.perf_counter()
get_ipython().run_line_magic("load_ext", "ultimate_lib")
print((time.perf_counter() - began) * 1000)"""
_READY_S = 60.0
_SEEN_MS = 15_000
_REPLY_S = 60


class Paces(NamedTuple):
    """How often each thing is done."""

    calls: int
    kernels: int
    cells: int


QUICK, FULL = Paces(calls=5, kernels=2, cells=100), Paces(calls=25, kernels=9, cells=1000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less often: about 40 seconds")
    paces = QUICK if parser.parse_args().quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-workbench-") as place:
        folder = Path(place)
        write_notebook(folder / "data" / "notebooks" / NOTEBOOK, paces.calls)
        with start_proxy(folder, arguments=["--lab"]) as proxy:
            row_s, line_s = seen(proxy, paces)
            load_ms = [load_once(proxy, folder) for _ in range(paces.kernels - 1)]
            bare, extended, last_ms = cells(proxy, folder, paces)
            load_ms.append(last_ms)
    emit(
        [
            Figure(
                "panel_seen_s", statistics.median(row_s), "s", budget=2.0,
                how=f"Shift+Enter on a cell with one call to its row in the panel; {len(row_s)} calls, "
                f"longest {max(row_s):.2f}",
            ),
            Figure(
                "line_seen_s", statistics.median(line_s), "s", budget=2.0,
                how=f"the same to the line under the cell; longest {max(line_s):.2f}",
            ),
            Figure(
                "ext_load_ms", statistics.median(load_ms), "ms",
                how=f"{LOAD} in {len(load_ms)} fresh kernels, proxy found and asked; longest {max(load_ms):.0f}",
            ),
            Figure(
                "cell_overhead_ms", extended.cpu_ms - bare.cpu_ms, "ms",
                peer={"the cell without it": bare.cpu_ms},
                how=f"CPU of the kernel for a cell `pass`, less that without it; {paces.cells} cells in turn; "
                f"wall to the reply {extended.wall_ms:.1f} and {bare.wall_ms:.1f} ms",
            ),
        ]
    )  # fmt: skip


# -- in the browser -----------------------------------------------------------------------------------------------


def write_notebook(path: Path, calls: int) -> None:
    """Write a notebook that loads the extension and then makes one call a cell, each of a model of its own."""
    path.parent.mkdir(parents=True)
    sources = [LOAD, "import anthropic\nclient = anthropic.Anthropic()", CALL.format(model="warm-up")]
    sources += [CALL.format(model=f"bench-{number:03d}") for number in range(calls)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


def seen(proxy: Running, paces: Paces) -> tuple[list[float], list[float]]:
    """Return seconds from running a cell to the panel's row, and to the line under it, a pair a call."""
    told = re.search(r"JupyterLab +(\S+)/lab\S*\?(token=\S+)", proxy.said)
    assert told is not None, proxy.said + proxy.log()
    origin, token = told.groups()
    rows, lines = [], []
    with chromium() as browser, watched(browser, origin, width=1500) as watching:
        page = watching.page
        open_lab(page, f"{origin}/lab/tree/{NOTEBOOK}?{token}")
        page.locator('[data-id="ultimate-proxy-panel"]').click()
        page.locator(".jp-Notebook .jp-CodeCell").first.locator(".jp-InputPrompt").click()
        for number in range(3):
            page.keyboard.press("Shift+Enter")
            page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt", has_text=f"[{number + 1}]").wait_for()
        page.locator('.up-Call .up-Name[title^="warm-up"]').wait_for(timeout=_SEEN_MS)
        for number in range(paces.calls):
            began = time.monotonic()
            page.keyboard.press("Shift+Enter")
            page.locator(f'.up-Call .up-Name[title^="bench-{number:03d}"]').wait_for(timeout=_SEEN_MS)
            rows.append(time.monotonic() - began)
            page.locator(".jp-CodeCell").nth(number + 3).locator(".up-CellLine").wait_for(timeout=_SEEN_MS)
            lines.append(time.monotonic() - began)
    return rows, lines


def open_lab(page: Page, url: str) -> None:
    """Open a notebook in a JupyterLab that may still be starting; return when its kernel idles."""
    until = time.monotonic() + _READY_S
    while True:
        with contextlib.suppress(PageError):  # nobody listens yet
            page.goto(url)
            break
        assert time.monotonic() < until, "JupyterLab does not answer"
        time.sleep(0.2)
    page.get_by_text("(ipykernel) | Idle").wait_for(timeout=_READY_S * 1000)  # a cell that is run sooner is not run
    page.locator("#jupyterlab-splash").wait_for(state="detached")


# -- in a kernel --------------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """A kernel that runs."""

    client: BlockingKernelClient
    pid: int


@contextlib.contextmanager
def kernel(proxy: Running, folder: Path) -> Iterator[Kernel]:
    """Run a kernel with the surroundings that JupyterLab beside the proxy gives."""
    told = {"data.folder": str(proxy.data_dir), "server.port": int(proxy.url.rpartition(":")[2])}
    env = lab_environment(load(environ=environment(folder), overrides=told))
    manager, client = start_new_kernel(kernel_name="python3", env=env, cwd=str(folder))
    try:
        yield Kernel(client, int(manager.provisioner.pid))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def run(client: BlockingKernelClient, code: str) -> str:
    """Run code and return what it printed. Raises `AssertionError` with its traceback."""
    said: list[str] = []

    def hear(message: dict[str, dict[str, str]]) -> None:
        said.append(message["content"].get("text", ""))

    reply = client.execute_interactive(code, timeout=_REPLY_S, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


def load_once(proxy: Running, folder: Path) -> float:
    """Return milliseconds that loading the extension takes in a fresh kernel."""
    with kernel(proxy, folder) as fresh:
        return float(run(fresh.client, TIMED_LOAD).split()[-1])


class Cells(NamedTuple):
    """What cells that do nothing cost a kernel, in milliseconds a cell."""

    cpu_ms: float
    wall_ms: float  # to the reply, lower quartile: noise of a shared machine only adds


def cells(proxy: Running, folder: Path, paces: Paces) -> tuple[Cells, Cells, float]:
    """Return what cells cost without and with the extension, run in turn; and milliseconds of loading it."""
    with kernel(proxy, folder) as bare, kernel(proxy, folder) as extended:
        loaded_ms = float(run(extended.client, TIMED_LOAD).split()[-1])
        time.sleep(1.0)  # what loading has left to do in the background
        walls: dict[int, list[float]] = {bare.pid: [], extended.pid: []}
        before = {pid: cpu_s([pid]) for pid in walls}
        for number in range(paces.cells):
            for one in (bare, extended) if number % 2 else (extended, bare):
                began = time.perf_counter()
                run(one.client, "pass")
                walls[one.pid].append((time.perf_counter() - began) * 1000)
        found = {
            pid: Cells((cpu_s([pid]) - before[pid]) * 1000 / paces.cells, statistics.quantiles(times, n=4)[0])
            for pid, times in walls.items()
        }
        return found[bare.pid], found[extended.pid], loaded_ms


if __name__ == "__main__":
    main()

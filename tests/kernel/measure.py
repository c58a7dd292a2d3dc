"""What the extension costs a kernel, measured in a real one."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tests.harness import Running
from tests.kernel.kernels import CLIENTS, Kernel, start_kernel

_LOAD = """
import time
_start = time.perf_counter()
get_ipython().run_line_magic("load_ext", "ultimate_lib")
result((time.perf_counter() - _start) * 1000)
"""
_CELLS = """
_times = []
for _ in range({count}):
    _start = time.perf_counter(); get_ipython().run_cell("1;"); _times.append(time.perf_counter() - _start)
result(sorted(_times)[len(_times) // 2] * 1000)
"""


def measure(folder: Path, proxy: Running, *, runs: int = 3, calls: int = 20) -> dict[str, float]:
    """Return ext_load_ms (openai and anthropic imported, ten clients), and what a cell pays without and with a call.

    `cell_overhead_ms` is the difference of a cell that calls nothing, with and without the extension; line_wait_ms is
    by how much a cell of one call ends later where its line is plain output (JupyterLab waits for nothing). Medians,
    milliseconds. `proxy` should have been asked for numbers once.
    """
    loads, bare, loaded, plain, without = [], [], [], [], []
    for number in range(runs):
        with start_kernel(folder / f"kernel-{number}", proxy) as kernel:
            kernel.run(CLIENTS + "gpts = [openai.OpenAI(api_key='sk-own') for _ in range(5)]; gpt = gpts[0]")
            kernel.run("claudes = [anthropic.Anthropic(api_key='sk-own') for _ in range(5)]")
            cells = _CELLS.format(count=300)
            kernel.run(cells, silent=True)
            bare.append(kernel.run(cells, silent=True).value)
            loads.append(kernel.run(_LOAD).value)
            time.sleep(0.5)
            loaded.append(kernel.run(cells, silent=True).value)
            kernel.run("ask(gpt); None")
            plain += _took(kernel, calls)
            kernel.run("%ultimate line off")
            without += _took(kernel, calls)
    middle = statistics.median
    return {
        "ext_load_ms": middle(loads),
        "cell_overhead_ms": max(middle(loaded) - middle(bare), 0.0),
        "line_wait_ms": max(middle(plain) - middle(without), 0.0),
    }


def _took(kernel: Kernel, calls: int) -> list[float]:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        kernel.run("ask(gpt); None", "measured")
        times.append((time.perf_counter() - start) * 1000)
    return times

"""One proxy in demo mode for all tests of the kernel extension; a kernel of its own for each test that asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import Running, start_proxy
from tests.kernel.kernels import Kernel, load, start_kernel


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("proxy"), arguments=["--demo"]) as running:
        running.get("/api/analytics/calls")  # the first question loads the lake's libraries
        yield running


@pytest.fixture
def kernel(tmp_path: Path, proxy: Running) -> Iterator[Kernel]:
    with start_kernel(tmp_path / "home", proxy) as running:
        yield running


@pytest.fixture
def loaded(kernel: Kernel) -> Kernel:
    """A kernel with the extension and clients."""
    return load(kernel)


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory, proxy: Running) -> Iterator[Kernel]:
    """One kernel of many cells, as a working day has it: importing the clients is most of what a kernel costs."""
    with start_kernel(tmp_path_factory.mktemp("home"), proxy) as running:
        yield load(running)


@pytest.fixture
def shared(working: Kernel) -> Iterator[Kernel]:
    """The kernel of this module, its rows counted from now on, without a JupyterLab that a test before had open."""
    working.began = datetime.now(UTC)
    yield working
    working.close_comms()

"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import settings

from tests.calm import DAY, until_calm

# jsonschema makes grammars of internationalised addresses when it is imported, for formats that no schema here has:
# two seconds of CPU in each worker. Without the package it goes on without those formats.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
# Several workers on two cores: threads that help with small sums cost more than they do. A product that a test starts
# has the threads of its own setting (proxy_server/process.py).
for _threads in ("OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_threads, "1")

# A machine that pauses for a fifth of a second in an example is no failure of what the example is of.
settings.register_profile("any machine", settings.default, deadline=None)
settings.load_profile("any machine")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, which is a third of the time: little of what is imported is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _a_file() -> Iterator[None]:
    """Begin no file of tests where a day is about to end, and end it with what it left to the garbage collector.

    What was spent today would be of yesterday; and a connection left open in a cycle would fail another file's test.
    """
    time.sleep(until_calm(datetime.now(UTC), DAY).total_seconds())
    yield
    gc.collect()

"""What holds for all tests."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator

import pytest

# jsonschema makes grammars of internationalised addresses when it is imported, for formats that no schema here has:
# two seconds of CPU in each worker. Without the package it goes on without those formats.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, which is a third of the time: little of what is imported is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()

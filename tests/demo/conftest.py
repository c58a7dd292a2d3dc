"""One filled lake for all tests that only read."""

from __future__ import annotations

import pytest

from tests.demo.filled import book, open_lake
from ultimate_lib.demo.lake import fill
from ultimate_lib.lake import Lake


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = open_lake(tmp_path_factory.mktemp("demo-lake"))
    fill(lake, book())
    return lake

"""One gateway for all tests of a module, in front of a provider that each test scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.scripted import Scripted
from tests.gateway.gateways import KEYS, PROVIDERS, Gateway, start_gateway


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Scripted) -> Iterator[Gateway]:
    with start_gateway(tmp_path_factory.mktemp("gateway"), PROVIDERS.format(url=upstream.url), KEYS) as running:
        yield running


@pytest.fixture(params=["anthropic", "openai"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)

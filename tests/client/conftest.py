from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_proxy import ClaudeProxyClient
from tests.client.fake import Fake

KEY = "cp_" + "k" * 43


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find a proxy or settings of whoever runs it."""
    for name in ("CLAUDE_PROXY_URL", "CLAUDE_PROXY_API_KEY", "NO_COLOR", "ULTIMATE_DATA_FOLDER", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_PROXY_HOME", str(tmp_path / "settings"))


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.close()


@pytest.fixture
def client(fake: Fake) -> Iterator[ClaudeProxyClient]:
    with ClaudeProxyClient(fake.url, KEY, timeout=5.0) as made:
        yield made

"""docs/cli.md says every command, with an example that the parser takes; its Python runs."""

from __future__ import annotations

import re
import shlex

import pytest

from claude_proxy.cli.parser import leaves, parser
from tests.client.fake import Fake, told
from tests.harness import ROOT

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| `([^`]+)` \| (.+) \| `claude-proxy ([^`]+)` \|$", TEXT, re.MULTILINE)


def test_the_table_is_the_parser() -> None:
    assert [name for name, _, _ in LINES] == [path for path, _ in leaves(parser())]


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, _, example in LINES])
def test_each_example_is_taken(name: str, example: str) -> None:
    assert example.startswith(name)
    parser().parse_args(shlex.split(example))


def test_each_flag_that_is_named_is_there() -> None:
    known = {flag for _, parsed in leaves(parser()) for action in parsed._actions for flag in action.option_strings}
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= known


def test_the_python_runs(fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLAUDE_PROXY_URL", fake.url)
    row = {"model": "m", "requests": 2, "cost_usd": 0.1}
    fake.on("GET /api/analytics/aggregate", told({"rows": [row], "units": {}}))
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "docs/cli.md", "exec"), {})
    assert capsys.readouterr().out == "m 2 0.1\n"

"""The shipped notebook: executed by papermill against a real proxy, and clean as it lies here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from tests.dashboards.seeded import seed
from tests.harness import ROOT, environment, start_proxy

NOTEBOOK = ROOT / "notebooks" / "overview.ipynb"


def test_the_notebook_is_clean() -> None:
    found = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(found)
    assert len({cell.id for cell in found.cells}) == len(found.cells)
    for cell in found.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert cell.cell_type == "markdown" or cell.metadata.tags
    assert found.metadata.voila.template == "ultimate_proxy", "ours asks nothing of other origins"


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], **parameters: str) -> list[Any]:
    for name, value in environment(folder, told).items():
        monkeypatch.setenv(name, value)
    out = folder / "executed.ipynb"
    papermill.execute_notebook(str(NOTEBOOK), str(out), parameters=parameters, progress_bar=False, cwd=str(folder))
    cells: list[Any] = json.loads(out.read_text())["cells"]
    return cells


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_papermill_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(tmp_path / "data", days=3)
    with start_proxy(tmp_path) as proxy:
        told = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key}
        cells = run(tmp_path, monkeypatch, told, span="7d", group="project")
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    shown = cells[-1]["outputs"][-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in shown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_without_a_proxy_it_says_what_to_do_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"CLAUDE_PROXY_URL": "http://127.0.0.1:9", "CLAUDE_PROXY_API_KEY": "cp_x"}
    cells = run(tmp_path, monkeypatch, told)
    assert not [output for output in cells[-1]["outputs"] if output["output_type"] == "error"]

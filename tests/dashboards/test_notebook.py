"""The shipped dashboards' notebooks: executed by papermill against a real proxy, and clean as they lie here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from tests.dashboards.seeded import seed
from tests.harness import ROOT, environment, start_proxy

NOTEBOOKS = ROOT / "notebooks"


@pytest.mark.parametrize("name", ["overview", "forecasting"])
def test_the_notebook_is_clean(name: str) -> None:
    found = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(found)
    assert len({cell.id for cell in found.cells}) == len(found.cells)
    for cell in found.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert cell.cell_type == "markdown" or cell.metadata.tags
    assert found.metadata.voila.template == "ultimate_proxy", "ours asks nothing of other origins"


def run(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], **parameters: Any
) -> list[Any]:
    """Execute a notebook and return its cells."""
    notebook = NOTEBOOKS / f"{name}.ipynb"
    for variable, value in environment(folder, told).items():
        monkeypatch.setenv(variable, value)
    out = folder / "executed.ipynb"
    papermill.execute_notebook(str(notebook), str(out), parameters=parameters, progress_bar=False, cwd=str(folder))
    cells: list[Any] = json.loads(out.read_text())["cells"]
    return cells


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_papermill_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(tmp_path / "data", days=3)
    with start_proxy(tmp_path) as proxy:
        told = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key}
        cells = run("overview", tmp_path, monkeypatch, told, span="7d", group="project")
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    shown = cells[-1]["outputs"][-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in shown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_papermill_runs_forecasting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(tmp_path / "data", days=12, a_day=10)
    with start_proxy(tmp_path) as proxy:
        told = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key}
        cells = run("forecasting", tmp_path, monkeypatch, told, metric="requests", days=14)
        risk = proxy.get("/api/predictive/forecast?metric=requests&days=14")["risk_level"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    (drawn,) = [cell for cell in cells if "forecasting" in cell["metadata"].get("tags", ())]
    assert "application/vnd.jupyter.widget-view+json" in drawn["outputs"][-1]["data"]
    assert "".join(cells[-1]["outputs"][0]["text"]).startswith(f"risk {risk}: ")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_without_a_proxy_it_says_what_to_do_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"CLAUDE_PROXY_URL": "http://127.0.0.1:9", "CLAUDE_PROXY_API_KEY": "cp_x"}
    cells = run("overview", tmp_path, monkeypatch, told)
    assert not [output for output in cells[-1]["outputs"] if output["output_type"] == "error"]

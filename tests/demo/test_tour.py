"""notebooks/tour.ipynb runs from top to bottom against a demo, in a kernel as JupyterLab and papermill start one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
import pytest

from proxy_server.lab.lab import environment as lab_environment
from tests.harness import ROOT, Running, environment, start_proxy, wait_until
from ultimate_lib.settings import load

TOUR = ROOT / "notebooks" / "tour.ipynb"
MADE = {"openai": 1, "anthropic": 1, "stream": 1, "gather": 10}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("tour"), arguments=["--demo", "--demo-data"]) as running:
        wait_until(lambda: "77 of 77 days" in running.log(), 100, running)
        yield running


@pytest.fixture
def kernel_environment(proxy: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels find around them what JupyterLab beside the proxy would give them."""
    told = {
        "data.folder": str(proxy.data_dir / "demo"),
        "data.demo": True,
        "server.port": int(proxy.url.split(":")[2]),
    }
    given = {**environment(tmp_path), "IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in lab_environment(load(environ=given, overrides=told)).items():
        monkeypatch.setenv(name, value)


def test_the_tour_is_thin_and_kept_without_outputs() -> None:
    tour = nbformat.read(TOUR, as_version=4)
    nbformat.validate(tour)
    assert len({cell.id for cell in tour.cells}) == len(tour.cells)
    for cell in tour.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 20
    assert MADE.keys() < {cell.id for cell in tour.cells}


@pytest.mark.slow
@pytest.mark.usefixtures("kernel_environment")
def test_papermill_runs_the_tour_and_each_call_is_told_under_its_cell(proxy: Running, tmp_path: Path) -> None:
    made = tmp_path / "made.ipynb"
    papermill.execute_notebook(str(TOUR), str(made), progress_bar=False, cwd=str(tmp_path))
    tour = nbformat.read(made, as_version=4)
    said = {cell.id: text_of(cell) for cell in tour.cells if cell.cell_type == "code"}
    (cost,) = [cell for cell in tour.cells if cell.id == "cost"]
    assert "data" in json.dumps(cost.outputs)
    for cell in MADE:
        assert "$0.0" in said[cell], f"the line under {cell}: {said[cell]}"
    assert "10 calls" in said["gather"]
    assert "scripted" in said["openai"]
    assert all(team in said["teams"] for team in ("research", "platform", "support", "growth"))
    assert "research/" in said["lake"]
    assert f"{proxy.url}/dashboards/overview" in said["next"]
    rows = proxy.get("/api/analytics/breakdown?by=cell_id&metrics=requests&filter=provider:demo&limit=100")["rows"]
    assert sorted(row["requests"] for row in rows) == sorted(MADE.values()), (
        "papermill tells no ids, but cells are four"
    )
    assert proxy.get("/api/analytics/aggregate?filter=provider:demo")["rows"][0]["requests"] >= sum(MADE.values())


def text_of(cell: nbformat.NotebookNode) -> str:
    """Return what a cell said, all its forms together."""
    parts = [output.get("text", "") for output in cell.outputs]
    for output in cell.outputs:
        parts += [value for value in output.get("data", {}).values() if isinstance(value, str)]
        parts += output.get("traceback", [])
    return "\n".join(parts)

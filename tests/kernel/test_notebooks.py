"""Programs that run notebooks: nbclient, papermill, `jupyter execute`. Plain lines, right paths, cells' own ids."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.harness import Running, wait_until
from tests.kernel.kernels import CLIENTS, kernel_environment

SOURCES = (
    "%load_ext ultimate_lib",
    CLIENTS + "gpt, claude = openai.OpenAI(), anthropic.Anthropic()",
    "ask(gpt, input_tokens=10, output_tokens=5); None",
    "print('before')\ntell(claude, input_tokens=10, output_tokens=5)\nask(gpt, output_tokens=1, input_tokens=1);",
    "ask(gpt, input_tokens=10, output_tokens=5); None",
)


def written(folder: Path, name: str) -> Path:
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    book.cells = [nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(SOURCES)]
    book.cells.insert(2, nbformat.v4.new_markdown_cell("# Words"))
    path = folder / name
    nbformat.write(book, path)
    return path


def outputs(book: nbformat.NotebookNode) -> list[str]:
    """Return the text that each code cell that belongs to the test put out."""
    cells = [cell for cell in book.cells if cell.cell_type == "code" and "parameters" not in str(cell.metadata)]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]


def check(texts: list[str], proxy: Running) -> None:
    assert texts[0].startswith(f"Calls from this notebook go through {proxy.url} (demo data).")
    assert not texts[1]
    assert texts[2].startswith("1 call · 15 tokens · ")
    assert texts[3].startswith("before\n2 calls · 17 tokens · ")
    assert texts[4].startswith("1 call · 15 tokens · ")


def rows(proxy: Running, notebook: Path) -> list[tuple[str, str]]:
    """Return cell and protocol of the notebook's calls, oldest first."""
    found: list[dict[str, str]] = []

    def there() -> bool:
        found[:] = proxy.get(f"/api/analytics/calls?filter=notebook:{notebook}")["rows"]
        return len(found) >= 4

    wait_until(there, 15, proxy)
    return [(row["cell_id"], row["protocol_in"]) for row in found[::-1]]


EXPECTED = [
    ("cell-2", "openai-chat"), ("cell-3", "anthropic-messages"), ("cell-3", "openai-chat"), ("cell-4", "openai-chat"),
]  # fmt: skip


def run(command: list[str], folder: Path, proxy: Running, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=kernel_environment(folder, proxy, env), capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_papermill(tmp_path: Path, proxy: Running) -> None:
    """Started from a notebook of a Jupyter server: its kernel sees that one's session name, which is not its own.

    Then its path is found as without such a name, which `jupyter execute` has not.
    """
    path = written(tmp_path, "in.ipynb")
    outer = {"JPY_SESSION_NAME": str(tmp_path / "outer.ipynb")}
    run(["papermill", "in.ipynb", "out.ipynb", "-p", "n", "1"], tmp_path, proxy, outer)
    book = nbformat.read(tmp_path / "out.ipynb", 4)
    check(outputs(book), proxy)
    assert rows(proxy, path) == EXPECTED


def test_jupyter_execute(tmp_path: Path, proxy: Running) -> None:
    path = written(tmp_path, "executed.ipynb")
    run(["jupyter", "execute", "--inplace", "executed.ipynb"], tmp_path, proxy)
    check(outputs(nbformat.read(path, 4)), proxy)
    assert rows(proxy, path) == EXPECTED


def test_nbclient_from_a_program(tmp_path: Path, proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may run a notebook that is no file: its path is not known, and its cells go by number."""
    book = nbformat.read(written(tmp_path, "program.ipynb"), 4)
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in kernel_environment(tmp_path, proxy).items():
        monkeypatch.setenv(name, value)
    client = NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    check(outputs(book), proxy)
    (shown,) = [row for row in _kernels(proxy) if row["cell_id"] == "In[5]" and row["notebook"] is None][:1]
    found = proxy.get(f"/api/analytics/calls?filter=kernel:{shown['kernel_id']}")["rows"]
    assert sorted(row["cell_id"] for row in found) == ["In[3]", "In[4]", "In[4]", "In[5]"]


def _kernels(proxy: Running) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def there() -> bool:
        found[:] = proxy.get("/api/analytics/calls?limit=4")["rows"]
        return any(row["cell_id"] == "In[5]" for row in found)

    wait_until(there, 15, proxy)
    return found

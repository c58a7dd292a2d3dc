"""The working copy of the notebooks: nobody's changes are overwritten, and new editions arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy_server.lab import notebooks
from proxy_server.lab.extension import NAME, search_paths


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in ("tour", "overview"):
        (folder / f"{name}.ipynb").write_text(f"{name} 1")
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.ipynb")}


def test_what_nobody_changed_is_kept_up_to_date(tmp_path: Path, source: Path) -> None:
    copy = tmp_path / "copy"
    assert notebooks.update(copy, source) == []
    assert texts(copy) == {"tour.ipynb": "tour 1", "overview.ipynb": "overview 1"}
    (source / "tour.ipynb").write_text("tour 2")
    (copy / "mine.ipynb").write_text("mine")
    assert notebooks.update(copy, source) == []
    assert texts(copy) == {"tour.ipynb": "tour 2", "overview.ipynb": "overview 1", "mine.ipynb": "mine"}


def test_a_changed_notebook_stays_and_a_new_edition_lies_beside_it_once(tmp_path: Path, source: Path) -> None:
    copy = tmp_path / "copy"
    notebooks.update(copy, source)
    (copy / "tour.ipynb").write_text("mine")
    assert notebooks.update(copy, source) == [], "the same edition is no news"
    (source / "tour.ipynb").write_text("tour 2")
    assert notebooks.update(copy, source) == ["tour-2.ipynb"]
    assert notebooks.update(copy, source) == []
    (source / "tour.ipynb").write_text("tour 3")
    assert notebooks.update(copy, source) == ["tour-3.ipynb"]
    assert texts(copy) == {
        "tour.ipynb": "mine", "tour-2.ipynb": "tour 2", "tour-3.ipynb": "tour 3", "overview.ipynb": "overview 1",
    }  # fmt: skip


def test_a_deleted_notebook_comes_back_and_a_lost_note_overwrites_nothing(tmp_path: Path, source: Path) -> None:
    copy = tmp_path / "copy"
    notebooks.update(copy, source)
    (copy / "tour.ipynb").unlink()
    notebooks.update(copy, source)
    assert texts(copy)["tour.ipynb"] == "tour 1"
    (copy / "tour.ipynb").write_text("mine")
    (copy / ".shipped.json").write_text("[not ours")
    assert notebooks.update(copy, source) == ["tour-2.ipynb"]
    assert texts(copy)["tour.ipynb"] == "mine"


def test_the_extension_of_a_checkout_is_found_unless_one_is_installed(tmp_path: Path) -> None:
    root, prefix, folder = tmp_path / "root", tmp_path / "prefix", tmp_path / "data"
    assert search_paths(folder, root=root, prefix=prefix) == {}, "there is none to be found"
    bundle = root / "extension" / "jupyterlab_ultimate_proxy" / "labextension"
    bundle.mkdir(parents=True)
    for _ in range(2):
        found = search_paths(folder, root=root, prefix=prefix)
        assert (folder / "labextensions" / NAME).resolve() == bundle
    assert found["JUPYTER_PATH"] == [folder]
    assert found["JUPYTER_CONFIG_PATH"] == [root / "extension" / "jupyter-config"]
    (prefix / "share" / "jupyter" / "labextensions" / NAME).mkdir(parents=True)
    assert search_paths(folder, root=root, prefix=prefix) == {}

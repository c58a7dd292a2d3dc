"""The repository keeps its word: one list of dependencies, a lock without addresses, a wheel with only ours in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOP_LEVEL = {"proxy_server", "notebooks", "extension", "reports", "ultimate_lib", "tests", "docs", "dist", "build"}


def named(requirements: list[str]) -> dict[str, str]:
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(one.name): str(one.specifier) for one in parsed}


def test_environment_yml_asks_for_what_pyproject_asks_for() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = named([*PROJECT["dependencies"], *extras["lab"], *extras["voila"], *extras["reports"]])
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    by_conda = [entry for entry in listed if isinstance(entry, str)]
    assert by_pip.pop() == "--editable ."
    found = named([*by_conda, *by_pip])
    assert found.pop("python") == PROJECT["requires-python"]
    found.pop("pip")
    assert found == wanted


def test_the_lock_pins_by_hash_names_no_address_and_covers_what_is_asked() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    pinned = {}
    for block in blocks:
        head = block.split("\\")[0].strip()
        one = Requirement(head)
        assert len(one.specifier) == 1, head
        assert str(one.specifier).startswith("=="), head
        assert "--hash=sha256:" in block, head
        pinned.setdefault(canonicalize_name(one.name), str(one.specifier).removeprefix("=="))
    for text_ in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        wanted = Requirement(text_)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), text_


def test_no_machine_path_or_registry_address_is_committed() -> None:
    ran = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip("git: needed to list the project's files")
    forbidden = re.compile(
        r"/work/(main|shared|wt)/|/root/|files\.pythonhosted|pypi\.org/simple|registry\.npmjs|/opt/pypi"
    )
    for name in filter(None, ran.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            found = forbidden.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{name}: {found and found[0]}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    data = {name.partition(".data/")[2] for name in names if ".data/" in name}
    top = {name for name in top if not name.endswith(".data")}
    assert top == {"ultimate_lib", "proxy_server", "claude_proxy", "jupyterlab_ultimate_proxy"}
    assert not [name for name in names if name.endswith((".pth", ".pyc"))]
    assert "ultimate_lib/py.typed" in names
    packages = ("ultimate_lib", "proxy_server", "extension/jupyterlab_ultimate_proxy")
    committed = {str(path.relative_to(ROOT)) for folder in packages for path in (ROOT / folder).rglob("*.py")}
    mapped = {path.removeprefix("ultimate_lib/sdk/src/").removeprefix("extension/") for path in committed}
    assert mapped <= set(names), "every module is in the wheel"
    lab = "data/share/jupyter/labextensions/@ultimate-proxy/jupyterlab"
    assert {f"{lab}/package.json", f"{lab}/install.json"} <= data
    assert "data/etc/jupyter/jupyter_server_config.d/jupyterlab_ultimate_proxy.json" in data
    bundle = ROOT / "extension" / "jupyterlab_ultimate_proxy" / "labextension"
    built = {f"{lab}/{path.relative_to(bundle).as_posix()}" for path in bundle.rglob("*") if path.is_file()}
    assert built <= data
    assert not [name for name in names if "node_modules" in name or name.startswith("jupyterlab_ultimate_proxy/lab")]


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed without its dependencies: what lands in site-packages, and that the command is there."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    before = {path.name for path in site.iterdir()}
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    added = {path.name for path in site.iterdir()} - before
    packages = {name for name in added if not name.endswith(".dist-info")}
    assert packages == {"ultimate_lib", "proxy_server", "claude_proxy", "jupyterlab_ultimate_proxy"}
    assert (tmp_path / "env" / "share/jupyter/labextensions/@ultimate-proxy/jupyterlab/package.json").exists()
    assert (tmp_path / "env" / "etc/jupyter/jupyter_server_config.d/jupyterlab_ultimate_proxy.json").exists()
    assert (tmp_path / "env" / "bin" / "ultimate-proxy").exists()


def test_the_top_level_is_the_agreed_one() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    folders = {name for name in folders if not name.endswith(".egg-info")}
    assert folders <= TOP_LEVEL

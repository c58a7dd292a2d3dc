"""`claude-proxy-sdk` alone: builds, installs with requests and nothing else, and works."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import claude_proxy
from tests.harness import ROOT

SDK = ROOT / "ultimate_lib" / "sdk"
SOURCES = sorted((SDK / "src").rglob("*.py"))


def told() -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((SDK / "pyproject.toml").read_text())["project"]
    return project


def test_the_version_is_one_and_the_dependency_is_one() -> None:
    assert told()["version"] == claude_proxy.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == claude_proxy.__version__
    (dependency,) = told()["dependencies"]  # type: ignore[misc] # a list in the file
    assert str(dependency).startswith("requests")


def test_nothing_but_the_standard_library_requests_and_itself_is_imported() -> None:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    # urllib3 is requests' own; polars is named for types alone, and imported by name when a frame is asked for
    assert found - sys.stdlib_module_names == {"claude_proxy", "requests", "urllib3", "polars"}


@pytest.mark.slow
def test_the_wheel_installs_alone_and_works(tmp_path: Path) -> None:
    def run(*command: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip

    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path], cwd=SDK,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == {"claude_proxy", f"claude_proxy_sdk-{claude_proxy.__version__}.dist-info"}
    assert run(sys.executable, "-m", "venv", "alone").returncode == 0
    python, script = tmp_path / "alone" / "bin" / "python", tmp_path / "alone" / "bin" / "claude-proxy"
    installed = run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, timeout=300)
    if installed.returncode and "No matching distribution" in installed.stderr:
        pytest.skip("no package index gives requests here")
    assert installed.returncode == 0, installed.stderr
    listed = run(python, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check").stdout
    have = {line.partition("==")[0].lower() for line in listed.split()} - {"pip", "setuptools"}
    assert have == {"claude-proxy-sdk", "requests", "urllib3", "idna", "certifi", "charset-normalizer"}
    assert run(script, "--version").stdout.strip() == claude_proxy.__version__
    asked = run(script, "analytics", "--url", "http://127.0.0.1:1")
    assert (asked.returncode, "No proxy answers at http://127.0.0.1:1" in asked.stderr) == (1, True), asked.stderr
    frame = run(python, "-c", "from claude_proxy import Rows; Rows(rows=[]).to_polars()")
    assert "pip install polars" in frame.stderr

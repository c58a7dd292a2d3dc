"""The committed bundle is what the sources make, and comes with the licences of its parts."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_ultimate_proxy import NAME, __version__, _jupyter_labextension_paths
from tests.browser.jupyterlab import extension_paths
from tests.extension.conftest import EXTENSION
from tests.harness import environment

LABEXTENSION = EXTENSION / "jupyterlab_ultimate_proxy" / "labextension"
TOLD = json.loads((EXTENSION / "package.json").read_text())


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(EXTENSION / "scripts" / "fingerprint.py"))


def test_the_bundle_is_current(script: dict[str, Any]) -> None:
    written = json.loads((EXTENSION / "fingerprint.json").read_text())
    now = script["fingerprint"]()
    assert now["sources"] == written["sources"], "the sources changed: run `make extension` and commit what it built"
    assert now["bundle"] == written["bundle"], "the bundle was changed by hand: run `make extension`"


def test_the_sum_is_over_all_that_the_build_reads(script: dict[str, Any]) -> None:
    names = set(script["SOURCES"])
    built_from = {"src", "schema", "style", "package.json", "tsconfig.json", "yarn.lock"}
    assert built_from <= names
    assert all((EXTENSION / name).exists() for name in names)


def test_the_bundle_loads_what_its_package_names() -> None:
    built = json.loads((LABEXTENSION / "package.json").read_text())
    assert built["name"] == NAME == TOLD["name"]
    assert built["version"] == TOLD["version"]
    assert (LABEXTENSION / built["jupyterlab"]["_build"]["load"]).is_file()
    assert _jupyter_labextension_paths() == [{"src": "labextension", "dest": NAME}]
    licences = json.loads((LABEXTENSION / "static" / "third-party-licenses.json").read_text())
    assert all(one["licenseId"] for one in licences["packages"])
    size = sum(path.stat().st_size for path in LABEXTENSION.rglob("*") if path.is_file())
    assert size < 200_000
    assert not list(LABEXTENSION.rglob("*.map"))


@pytest.mark.slow
def test_jupyter_lists_it(tmp_path: Path) -> None:
    """The server's part is listed only once it is installed; that it loads is seen by every other test here."""
    paths = extension_paths(tmp_path / "share")
    env = environment(tmp_path, {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), **paths})
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert re.search(r"@ultimate-proxy/jupyterlab v0\.1\.0.*enabled.*OK", ran.stdout + ran.stderr)


def test_one_version() -> None:
    project = tomllib.loads((EXTENSION.parent / "pyproject.toml").read_text())["project"]
    assert TOLD["version"] == __version__ == project["version"]


def test_the_lock_names_no_registry() -> None:
    for line in (EXTENSION / "yarn.lock").read_text().splitlines():
        assert "://" not in line or line.startswith("#"), line


def test_every_schema_belongs_to_a_plugin_and_every_sentence_is_translated() -> None:
    source = "".join(path.read_text() for path in (EXTENSION / "src").rglob("*.ts*"))
    plugins = set(re.findall(r"id: `\$\{ID\}:(\w+)`", source))
    assert plugins == {"proxy", "panel", "status", "kernel", "button", "line", "launcher"}
    assert {path.stem for path in (EXTENSION / "schema").glob("*.json")} <= plugins
    in_markup = re.findall(r">\s*([A-Z][a-z]+(?: [a-z]+)*)\s*</", source)
    assert in_markup == [], "words in markup go through trans.__"


def test_the_settings_have_defaults_and_no_key() -> None:
    schema = json.loads((EXTENSION / "schema" / "proxy.json").read_text())
    assert set(schema["properties"]) == {
        "proxyUrl", "apiKeyVariable", "refreshSeconds", "autoLoad", "showStatusBar", "panels",
    }  # fmt: skip
    assert all("default" in told and told["title"] for told in schema["properties"].values())


def test_colours_come_from_the_theme() -> None:
    style = (EXTENSION / "style" / "base.css").read_text()
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", style)
    for line in style.splitlines():
        told = re.match(r"\s+(color|background|border-[a-z]+-color): (.+);", line)
        assert told is None or told[2] in {"none", "inherit", "transparent"} or "var(--jp-" in told[2], line

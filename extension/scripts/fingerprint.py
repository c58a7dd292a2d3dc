"""Says from which sources the committed bundle was built: `python extension/scripts/fingerprint.py` after a build.

Two SHA-256 sums in extension/fingerprint.json: one over all that the build reads, one over all that it wrote. A test
compares them, so that nobody needs Node to see that the bundle is current and untouched.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

EXTENSION = Path(__file__).resolve().parents[1]
FILE = EXTENSION / "fingerprint.json"
SOURCES = ("src", "schema", "style", "package.json", "tsconfig.json", "yarn.lock", ".yarnrc.yml")
BUNDLE = ("jupyterlab_ultimate_proxy/labextension",)


def fingerprint() -> dict[str, str]:
    """Return the sums of sources and bundle as they are now."""
    return {"sources": _sum(SOURCES), "bundle": _sum(BUNDLE)}


def _sum(places: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for place in places:
        path = EXTENSION / place
        files = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
        for file in files:
            total.update(f"{file.relative_to(EXTENSION).as_posix()}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


if __name__ == "__main__":
    FILE.write_text(json.dumps(fingerprint(), indent=2) + "\n", encoding="utf-8")
    print(f"{FILE} says what the bundle was built from.")

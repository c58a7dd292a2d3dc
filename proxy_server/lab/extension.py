"""Where Jupyter finds our JupyterLab extension when this program runs from a source checkout, not installed."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

NAME = "@ultimate-proxy/jupyterlab"
_ROOT = Path(__file__).resolve().parents[2]


def search_paths(folder: Path, *, root: Path = _ROOT, prefix: Path | None = None) -> dict[str, list[Path]]:
    """Return what to put in front of search paths, by variable: none when the extension is installed, or not built.

    Jupyter looks for front ends under a folder `labextensions`, so a link of that shape is made in `folder`.
    """
    source = root / "extension"
    bundle = source / "jupyterlab_ultimate_proxy" / "labextension"
    installed = (prefix or Path(sys.prefix)) / "share" / "jupyter" / "labextensions" / NAME
    if not bundle.is_dir() or installed.exists():
        return {}
    link = folder / "labextensions" / NAME
    link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(bundle, target_is_directory=True)
    return {
        "JUPYTER_PATH": [folder],
        "JUPYTER_CONFIG_PATH": [source / "jupyter-config"],
        "PYTHONPATH": [source],
    }

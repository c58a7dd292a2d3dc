"""Which notebook this kernel belongs to, and what its cells are called.

Known ways, the first that tells: JupyterLab by comm · VS Code's `__vsc_ipynb_file__` · Jupyter server's
JPY_SESSION_NAME, told relative to the server's folder as JupyterLab does · the command line of the program that
started the kernel (papermill, `jupyter execute`, `jupyter nbconvert`) · nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

_MOST_BYTES = 64 << 20
_SUFFIX = ".ipynb"


class Notebook:
    """The notebook of a kernel. `told` is what JupyterLab said last; it follows renames."""

    def __init__(self, shell: InteractiveShell, environ: Mapping[str, str] | None = None) -> None:
        self._shell = shell
        self._environ = os.environ if environ is None else environ
        self.told: str | None = None
        self._parent = _parent_pid(self._environ)
        self.session = self._session()
        self._started = None if self.session else self._from_command_line()
        self._ids: list[tuple[str, str]] | None = None  # source and id of each cell, from the file
        self._place = 0

    @property
    def path(self) -> str | None:
        """Return the path, None when nothing tells it."""
        return self.told or self._vscode() or self._from_session() or self._started

    def name(self, source: str) -> str | None:
        """Return the id of the cell with this source, for front ends that tell none; cells run downwards."""
        if self._started is None:
            return None
        if self._ids is None:
            self._ids = _cells(Path(self._started))
        count = len(self._ids)
        for step in range(count):
            place = (self._place + step) % count
            if self._ids[place][0] == source:
                self._place = place + 1
                return self._ids[place][1]
        return None

    def _vscode(self) -> str | None:
        told = self._shell.user_ns.get("__vsc_ipynb_file__")
        return told if isinstance(told, str) and told else None

    def _session(self) -> str:
        """Return JPY_SESSION_NAME if it is this kernel's own, not inherited from the notebook that started us."""
        name = self._environ.get("JPY_SESSION_NAME", "")
        if not name or self._parent is None:
            return name
        return name if _process_environ(self._parent).get("JPY_SESSION_NAME") != name else ""

    def _from_session(self) -> str | None:
        name = self.session
        if not name.endswith(_SUFFIX) and "/" not in name:
            return None
        root = self._root()
        if root is not None:
            with contextlib.suppress(ValueError):
                return Path(name).relative_to(root).as_posix()
        return name

    def _root(self) -> Path | None:
        """Return the folder of the Jupyter server that started this kernel, from the file it writes about itself."""
        folder = connection_file(self._shell)
        if self._parent is None or folder is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((folder.parent / f"jpserver-{self._parent}.json").read_text(encoding="utf-8"))
            return Path(told["root_dir"])
        return None

    def _from_command_line(self) -> str | None:
        words, folder = _process_command(self._parent) if self._parent is not None else ([], "")
        named = [word for word in words if word.endswith(_SUFFIX)]
        runs = any(Path(word).name.startswith(("papermill", "jupyter")) for word in words[:4])
        if not runs or not named or (len(named) > 1 and not _is_papermill(words)):
            return None
        path = Path(folder, named[0])
        return str(path) if path.is_file() else None


def connection_file(shell: InteractiveShell) -> Path | None:
    """Return the kernel's connection file, None in a terminal."""
    kernel = getattr(shell, "kernel", None)
    told = getattr(getattr(kernel, "parent", None), "abs_connection_file", None)
    return Path(told) if told else None


def kernel_id(shell: InteractiveShell) -> str:
    """Return the id under which Jupyter knows this kernel, or one of its own making."""
    path = connection_file(shell)
    if path is not None and path.stem.startswith("kernel-"):
        return path.stem.removeprefix("kernel-")
    kernel = getattr(shell, "kernel", None)
    return str(getattr(kernel, "ident", "") or f"terminal-{os.getpid()}")


def _is_papermill(words: list[str]) -> bool:
    return any(Path(word).name.startswith("papermill") for word in words[:4])


def _parent_pid(environ: Mapping[str, str]) -> int | None:
    told = environ.get("JPY_PARENT_PID", "")
    return int(told) if told.isascii() and told.isdigit() else None


def _process_environ(pid: int) -> dict[str, str]:
    import psutil  # noqa: PLC0415 - ipykernel has loaded it already

    try:
        return dict(psutil.Process(pid).environ())
    except (psutil.Error, OSError):
        return {}


def _process_command(pid: int) -> tuple[list[str], str]:
    import psutil  # noqa: PLC0415 - see above

    try:
        process = psutil.Process(pid)
        return list(process.cmdline()), str(process.cwd())
    except (psutil.Error, OSError):
        return [], ""


def _cells(path: Path) -> list[tuple[str, str]]:
    """Return source and id of each code cell of a notebook file."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        if path.stat().st_size <= _MOST_BYTES:
            told = json.loads(path.read_text(encoding="utf-8"))
            return [(_source(cell), str(cell["id"])) for cell in told["cells"] if cell["cell_type"] == "code"]
    return []


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)

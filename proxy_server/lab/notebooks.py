"""A working copy of the shipped notebooks: people's changes are never overwritten, new editions lie beside them.

    notebooks/tour.ipynb          as shipped, until its user changes it
    notebooks/tour-2.ipynb        a later edition, when the user has changed the first
    notebooks/.shipped.json       by name: SHA-256 of the edition that was given last, and of the file as we wrote it

A notebook that was deleted comes back: that is how to begin anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTE = ".shipped.json"
_PACKAGE = Path(__file__).resolve().parent.parent


def shipped() -> Path:
    """Return the folder of the notebooks that came with this program: in the package, or beside it in a checkout."""
    inside = _PACKAGE / "notebooks"
    return inside if inside.is_dir() else _PACKAGE.parent / "notebooks"


def update(folder: Path, source: Path | None = None) -> list[str]:
    """Bring a working copy up to date and return the names of editions laid beside changed files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = folder / _NOTE
    known = _read(note)
    beside: list[str] = []
    for path in sorted((shipped() if source is None else source).glob("*.ipynb")):
        content = path.read_bytes()
        edition, copy = _digest(content), folder / path.name
        given, written = known.get(path.name, ("", ""))
        if copy.exists() and given == edition:
            continue
        found = _digest(copy.read_bytes()) if copy.exists() else written
        if found in {written, edition}:
            _write(copy, content)
            known[path.name] = (edition, edition)
        else:
            other = next(_free(copy))
            _write(other, content)
            beside.append(other.name)
            known[path.name] = (edition, written)
    _write(note, json.dumps(known, indent=1).encode())
    return beside


def _free(path: Path) -> Iterator[Path]:
    """Yield names beside a file's that nothing has."""
    number = 2
    while True:
        other = path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not other.exists():
            yield other
        number += 1


def _read(note: Path) -> dict[str, tuple[str, str]]:
    """Return the editions given and the files written, by name; nothing when the note is not there or not ours."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        told = json.loads(note.read_text(encoding="utf-8"))
        return {str(name): (str(edition), str(file)) for name, (edition, file) in told.items()}
    return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    making.write_bytes(content)
    making.replace(path)

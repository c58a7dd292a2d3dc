"""Finding and reading big line-oriented files that other programs write, without trusting any of it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ultimate_lib.lake.importers import Found, Skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MOST_LINE_BYTES = 64 * 1024 * 1024
_BUFFER = 1024 * 1024
_TELL_BYTES = 4 * 1024 * 1024


def find(places: Sequence[Path], suffix: str) -> Found:
    """Return the files below some places whose names end in `suffix`, the longest untouched first.

    Links are followed, each file and folder is visited once. Files named outright need no suffix.
    """
    seen: set[tuple[int, int]] = set()
    files: list[tuple[int, Path]] = []
    skips: list[Skip] = []
    waiting = [(place, True) for place in reversed(places)]
    while waiting:
        path, named = waiting.pop()
        try:
            told = path.stat()
            identity = (told.st_dev, told.st_ino)
            if identity in seen:
                skips.append(Skip("a file or folder reached a second time, by a link", str(path)))
            elif stat.S_ISDIR(told.st_mode):
                seen.add(identity)
                with os.scandir(path) as entries:
                    inside = sorted((entry.name for entry in entries if _wanted(entry, suffix)), reverse=True)
                waiting += [(path / name, False) for name in inside]
            elif not named and not path.name.endswith(suffix):
                continue
            elif stat.S_ISREG(told.st_mode):
                seen.add(identity)
                files.append((told.st_mtime_ns, path))
            else:
                skips.append(Skip("not a regular file", str(path)))
        except OSError as error:
            skips.append(Skip(f"cannot be read ({error.strerror})", str(path)))
    return Found([path for _, path in sorted(files)], skips)


def _wanted(entry: os.DirEntry[str], suffix: str) -> bool:
    """Say whether to look at an entry of a folder: the right suffix, a folder, or what cannot tell."""
    try:
        return entry.name.endswith(suffix) or entry.is_dir()
    except OSError:
        return True


def read_lines(path: Path, progress: Callable[[int], None]) -> Iterator[tuple[int, bytes] | Skip]:
    """Yield (number, line) from 1 on, without line ends, and a skip for each that is too long.

    A file that breaks off or cannot be read ends with a skip; so nothing before it is lost.
    """
    untold = number = 0
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            while line := file.readline(MOST_LINE_BYTES):
                number += 1
                untold += len(line)
                if untold >= _TELL_BYTES:
                    progress(untold)
                    untold = 0
                if len(line) < MOST_LINE_BYTES or line.endswith(b"\n"):
                    yield number, line
                    continue
                while line and not line.endswith(b"\n"):
                    line = file.readline(_BUFFER)
                    progress(len(line))
                yield Skip(f"a line longer than {MOST_LINE_BYTES // 1024 // 1024} MiB", f"{path}:{number}")
    except OSError as error:
        yield Skip(f"cannot be read ({error.strerror})", str(path))
    progress(untold)

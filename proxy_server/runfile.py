"""The folders of an installation, and the file by which `reload` and `stop` find its supervisor.

`run/supervisor.pid` is locked while its writer lives: a number left behind by a crash names nobody.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from ultimate_lib.settings import Settings

_NAME = "supervisor.pid"


def make_folders(settings: Settings) -> None:
    """Make the folders that everyone writes to. Raises `Unavailable` when the data folder cannot be written."""
    folder = settings.data_dir
    try:
        own = () if settings.data.lake_url else (folder / "lake",)  # as the others: nobody else looks into it
        for path in (folder, settings.run_dir, settings.journal_dir, *own):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_writable(settings, error) from error
    check_writable(settings.run_dir, settings)


def check_writable(part: Path, settings: Settings) -> None:
    """Raise `Unavailable` when a part of the data folder, or what that would stand in, cannot be written."""
    probe = part / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        raise _not_writable(settings, error) from error


def _not_writable(settings: Settings, error: OSError) -> Unavailable:
    return Unavailable(
        f"The data folder {settings.data_dir} cannot be written ({error.strerror}).",
        hint="Give a writable one with --data, or set data.folder.",
        code="data_folder",
    )


class RunFile:
    """Held by the one supervisor of a data folder. Raises `Unavailable` when another holds it."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / _NAME
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            raise Unavailable(
                f"Another `ultimate-proxy up` (process {pid}) uses the data folder {self._path.parent.parent}.",
                hint="Stop it with `ultimate-proxy stop`, or give this one a folder of its own with --data.",
                code="already_running",
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())
        return self

    def __exit__(self, *_: object) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def supervisor_pid(run_dir: Path) -> int | None:
    """Return the process that supervises a data folder now, or None."""
    try:
        fd = os.open(run_dir / _NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(fd, 32).decode(errors="replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
    return None

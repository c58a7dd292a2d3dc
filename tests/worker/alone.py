"""A worker process for tests: `python -m tests.worker.alone FOLDER JOBS [dotted=value …]`, ended by a signal.

JOBS is `real`, or one of the planted ones below.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from proxy_server import heartbeat
from proxy_server.heartbeat import Heartbeat
from proxy_server.process import Child, run_child
from proxy_server.worker import jobs
from tests.harness import wait_until
from ultimate_lib import journal
from ultimate_lib.lake import Lake
from ultimate_lib.lake.delta import append
from ultimate_lib.lake.schema import frame_from_lines
from ultimate_lib.settings import load

ROOT = Path(__file__).resolve().parents[2]


def spawn(folder: Path, jobs: str = "real", **overrides: object) -> subprocess.Popen[bytes]:
    """Start a worker on a data folder."""
    told = [f"{name}={value}" for name, value in overrides.items()]
    command = [sys.executable, "-m", "tests.worker.alone", str(folder), jobs, *told]
    with (folder / "worker.log").open("ab") as errors:
        return subprocess.Popen(command, cwd=ROOT, stderr=errors)


@contextlib.contextmanager
def start(folder: Path, jobs: str = "real", **overrides: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the block ends."""
    process = spawn(folder, jobs, **overrides)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    wait_until(true, seconds)


def beat(folder: Path) -> Heartbeat:
    """Return the last heartbeat; it must be there."""
    told = heartbeat.read(folder / "run")
    assert told is not None
    return told


def careless(lake: Lake) -> dict[str, int]:
    """The mutant of `ingest`: it commits what it finds without saying which segments that was."""
    for folder in journal.writer_folders(lake.journal_dir):
        for segment in journal.segments(folder):
            append(lake, frame_from_lines(journal.read_segment(segment.path).calls))
    time.sleep(3600)
    return {}


def stuck(_: Lake) -> dict[str, int]:
    """A job that never ends."""
    time.sleep(3600)
    return {}


def main() -> int:
    folder, planted, *told = sys.argv[1:]
    overrides: dict[str, object] = {"data.folder": folder}
    for pair in told:
        name, _, value = pair.partition("=")
        overrides[name] = float(value) if value.replace(".", "").isdigit() else value
    if planted != "real":
        work = {"careless": careless, "stuck": stuck}[planted]
        jobs.jobs = lambda *_: (jobs.Job("ingest", work, 1.0, 1.0, 1.0),)  # type: ignore[assignment,arg-type]
    settings = load(environ={}, overrides=overrides)
    child = Child(settings=settings, role="worker", slot=0, listener=None, control_address="", demo_url="")
    return run_child(child, life_fd=None)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())

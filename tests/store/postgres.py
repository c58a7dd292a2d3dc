"""A PostgreSQL server for tests: on a loopback port, in a folder of its own, gone when the session is."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

_ACCOUNTS = ("postgres", "nobody")
_SETTINGS = (
    "-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "max_connections=60", "-c", "shared_buffers=16MB",
    "-c", "autovacuum=off",
)  # fmt: skip
_START_S = 60.0


def binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`: Debian's newest, else where PATH says."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = shutil.which("initdb")
    if versions:
        return versions[-1].parent
    return Path(found).parent if found else None


def _account() -> dict[str, Any]:
    """Return whom to run as: the server refuses root."""
    if os.getuid() != 0:
        return {}
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError(f"PostgreSQL does not run as root, and there is no account of {_ACCOUNTS}.")


class Postgres:
    """One server; `start` and `stop` as often as a test likes, on the same port with the same data."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._as = _account()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        if self._as:
            os.chown(folder, self._as["user"], self._as["group"])
        command = [str(programs / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "tester", "-N"]
        subprocess.run(
            [*command, "--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=folder,
            timeout=120,
            **self._as,
        )
        self._release = int((folder / "data" / "PG_VERSION").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-h", "127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-p", str(self.port), *_SETTINGS], cwd=self.folder, stdout=log, stderr=log, **self._as
            )
        until = time.monotonic() + _START_S
        while True:
            try:
                self.ask("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-3000:]) from None
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: connections are cut (SIGINT) or all of it falls at once (SIGQUIT)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as the superuser; each statement is a transaction of its own."""
        place = f"host=127.0.0.1 port={self.port} user=tester dbname={database} connect_timeout=5"
        return psycopg.connect(place, autocommit=True)

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser and return its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "template1") -> str:
        """Make a database, a copy of `template`, and return its address."""
        self._made += 1
        name = f"test_{self._made}"
        copied = " STRATEGY FILE_COPY" if self._release >= 15 else ""  # before that release there was no other
        self.ask(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{copied}')
        return self.url(name)

    def url(self, name: str) -> str:
        """Return a database's address."""
        return f"postgresql+psycopg://tester@127.0.0.1:{self.port}/{name}"

    def backends(self, database: str) -> list[int]:
        """Return the processes that serve connections to a database."""
        return [pid for (pid,) in self.ask(f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'")]


@contextlib.contextmanager
def server() -> Iterator[Postgres]:
    """Run a server for the time of a `with` block; skip the test where PostgreSQL is not installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("needs PostgreSQL: install the package 'postgresql'")
    folder = Path(tempfile.mkdtemp(prefix="ultimate-postgres-"))
    postgres = Postgres(folder, programs)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)

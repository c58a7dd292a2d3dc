"""Opening the store, bringing its schema up to date, and telling in a sentence what is wrong with it."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.errors import Corrupt, Invalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSY_MS = 5000
_MIGRATIONS = Path(__file__).parent / "migrations"


class Store:
    """One database. Raises `Unavailable` or `Corrupt`, with what to do, when it does not work."""

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
            self._is_sqlite = self.url.get_backend_name() == "sqlite"
            self.engine = sa.create_engine(self.url, pool_pre_ping=not self._is_sqlite)
        except sa.exc.ArgumentError:  # its text may hold the password
            raise Invalid(
                "data.store_url is no address of a database that is known here.",
                hint="Write 'sqlite:////folder/store.sqlite' or 'postgresql://user:password@host/database'.",
                code="store_url",
            ) from None
        except ImportError as error:
            raise Invalid(
                f"data.store_url = '{self._shown()}' needs the package '{error.name}', which is not installed.",
                hint="Install it with `pip install 'ultimate-proxy[scale]'`.",
                code="store_driver",
            ) from error
        if self._is_sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
        self._watch: sa.Connection | None = None
        self._joined: ContextVar[sa.Connection | None] = ContextVar("joined", default=None)

    @property
    def path(self) -> Path | None:
        """The SQLite file, if it is one."""
        return Path(self.url.database) if self._is_sqlite and self.url.database else None

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction; database errors become sentences. Inside `together`, a part of that one transaction."""
        outer = self._joined.get()
        if outer is not None:
            with self._sentences(), outer.begin_nested():
                yield outer
            return
        with self._sentences(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def together(self) -> Iterator[sa.Connection]:
        """Make every `begin` of this thread part of one transaction until the block ends: all of it, or nothing.

        The block writes first, so that SQLite has begun before anything inside it does.
        """
        with self.begin() as connection:
            token = self._joined.set(connection)
            try:
                yield connection
            finally:
                self._joined.reset(token)

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn database errors into what to do."""
        try:
            yield
        except sa.exc.OperationalError as error:
            raise self._unavailable(error) from error
        except sa.exc.DatabaseError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            raise Corrupt(
                f"The store {self._shown()} cannot be read ({error.orig}).",
                hint="Restore it from a backup, or move it away to start with an empty one.",
                code="store_corrupt",
            ) from error

    def data_version(self) -> int:
        """Return a number that changes when another process has written (SQLite); 0 where there is none.

        Costs some microseconds; callers ask a few times a second. Raises `Unavailable` or `Corrupt`.
        """
        if not self._is_sqlite:
            return 0
        with self._sentences():
            if self._watch is None:
                self._watch = self.engine.connect()
            version = int(self._watch.exec_driver_sql("PRAGMA data_version").scalar_one())
            self._watch.rollback()
        return version

    def schema(self) -> tuple[str | None, str]:
        """Return the revision that the database has (None: no tables yet) and the newest that this program knows."""
        newest = max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
        if self.path is not None and not self.path.exists():
            return None, newest
        with self.begin() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None, newest
            present: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return present, newest

    def migrate(self) -> list[str]:
        """Bring the schema up to date and return the steps taken; a SQLite file is copied aside first.

        Processes that start together take turns. Raises `Invalid` for a schema newer than this program.
        """
        present, newest = self.schema()
        if present == newest:
            return []
        from alembic import command  # noqa: PLC0415 - only the process that migrates pays for it
        from alembic.config import Config  # noqa: PLC0415
        from alembic.migration import MigrationContext  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        known = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
        with self._turn(), self.begin() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
            if present is not None and present not in known:
                raise Invalid(
                    f"The store {self._shown()} has the schema '{present}', newer than this program knows.",
                    hint="Upgrade the program, or restore the backup made before that upgrade.",
                    code="store_newer",
                )
            steps = known[: known.index(present)] if present is not None else known
            if not steps:
                return []
            if present is not None and self.path is not None:
                _copy(self.path, self.path.with_name(f"{self.path.name}.before-{known[0]}"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return list(reversed(steps))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold a lock file while a SQLite schema changes; PostgreSQL's own transaction does it there."""
        if self.path is None:
            yield
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Unavailable(
                f"The folder {self.path.parent} of the store cannot be written ({error.strerror}).",
                hint="Give a writable data folder with --data.",
                code="store_folder",
            ) from error

    def _unavailable(self, error: sa.exc.OperationalError) -> Unavailable:
        told = str(error.orig)
        if "locked" in told:
            hint = "Another process holds it; try again, and look for a long-running backup."
        elif "no such table" in told:
            hint = "Start `ultimate-proxy up` once, which makes the tables."
        elif "unable to open" in told or "readonly" in told:
            hint = "Check that the data folder exists and can be written."
        else:
            hint = "Check that the database runs and that data.store_url is right."
        return Unavailable(
            f"The store {self._shown()} does not answer ({told}).", hint=hint, code="store_unavailable"
        )

    def _shown(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Let go of all connections."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self.engine.dispose()


def _copy(path: Path, to: Path) -> None:
    """Copy a database as it is now, rows that still stand in its write-ahead log included."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()

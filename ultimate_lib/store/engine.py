"""Opening the store, bringing its schema up to date, and telling in a sentence what is wrong with it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import sqlite3
import time
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.errors import Corrupt, Invalid, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_BUSY_MS = 5000
_BUSY_S = _BUSY_MS / 1000
_RECONNECT_S = (0.1, 0.4)  # most that is waited before the second and the third try to connect
_LOG_AGAIN_S = 60.0
_MIGRATION_LOCK = 0x756C7469  # any number that others do not use
_POSTGRES: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": f"-c lock_timeout={_BUSY_MS} -c idle_in_transaction_session_timeout=60000",
}
"""Of libpq: a server that is away is noticed within seconds, and nobody waits longer for a lock than SQLite would."""
_MIGRATIONS = Path(__file__).parent / "migrations"


class Store:
    """One database. Raises `Unavailable` or `Corrupt`, with what to do, when it does not work.

    Clients get to read these: they tell nothing of where the database is and whom it knows, which is for the log.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = sa.make_url(url)
            self._is_sqlite = self.url.get_backend_name() == "sqlite"
            self.engine = sa.create_engine(self.url, **self._options())
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
        self._logged = ("", 0.0)
        self._file: tuple[int, int] | None = None  # which file it is that connections have open
        self._joined: ContextVar[sa.Connection | None] = ContextVar("joined", default=None)

    @property
    def path(self) -> Path | None:
        """The SQLite file, if it is one."""
        return Path(self.url.database) if self._is_sqlite and self.url.database else None

    def _options(self) -> dict[str, Any]:
        if self._is_sqlite:
            return {"pool_timeout": _BUSY_S} if self.url.database not in {None, "", ":memory:"} else {}
        postgres = self.url.get_backend_name() == "postgresql"
        return {"pool_timeout": _BUSY_S, "pool_pre_ping": True, "connect_args": _POSTGRES if postgres else {}}

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction; database errors become sentences. What has failed is never run a second time.

        Inside `together` it is a part of that one transaction.
        """
        outer = self._joined.get()
        if outer is not None:
            with self._sentences(), outer.begin_nested():
                yield outer
            return
        with self._sentences():
            self._check_file()
            with self._connected() as connection, connection.begin():
                yield connection

    def _connected(self) -> sa.Connection:
        """Return a connection; one that cannot be made is tried for again, at moments that others do not share."""
        if not self._is_sqlite:
            for most_s in _RECONNECT_S:
                with contextlib.suppress(sa.exc.OperationalError):
                    return self.engine.connect()
                time.sleep(random.uniform(0, most_s))  # noqa: S311 - jitter is no secret
        return self.engine.connect()

    def _check_file(self) -> None:
        """Raise `Unavailable` when the SQLite file is gone: SQLite would go on in one that nobody else sees."""
        if self.path is None:
            return
        try:
            told = self.path.stat()
        except OSError as error:
            if self._file is None:  # the first connection makes it, or tells what is wrong
                return
            self._log(f"is gone ({error.strerror})")
            raise Unavailable(
                "The store cannot be reached: its file is gone.",
                hint="Put the file back, from a backup if need be; it is taken up without a restart.",
                code="store_unavailable",
            ) from error
        found = (told.st_dev, told.st_ino)
        if self._file not in {None, found}:  # a backup was put in its place
            self.engine.dispose()
        self._file = found

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
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise self._unavailable(error) from error
        except sa.exc.DatabaseError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            if error.connection_invalidated:
                raise self._unavailable(error) from error
            if "UndefinedTable" in type(error.orig).__name__:
                raise self._unavailable(error) from error
            self._log(f"cannot be read ({error.orig})")
            raise Corrupt(
                "The store cannot be read; the server's log tells why.",
                hint="Restore it from a backup, or move it away to start with an empty one.",
                code="store_corrupt",
            ) from error

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
        with self._turn(), self._changing() as connection:
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
    def _changing(self) -> Iterator[sa.Connection]:
        """Open the one transaction in which the schema changes: whole or, when this process is killed, not at all."""
        if not self._is_sqlite:
            with self.begin() as connection:
                if self.url.get_backend_name() == "postgresql":
                    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # processes that start together wait
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                yield connection
            return
        alone = sa.create_engine(self.url, poolclass=sa.NullPool)
        sa.event.listen(alone, "connect", _prepare_sqlite)
        with self._sentences(), alone.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # a table that is made anew is dropped for a moment
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver would leave changes of the schema outside
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise Corrupt(
                    f"The store {self._shown()} has rows without what they belong to: {broken[:3]}.",
                    hint="Nothing was changed. Restore it from a backup.",
                    code="store_corrupt",
                )
            connection.commit()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold a lock file while a SQLite schema changes; PostgreSQL has a lock of its own for that."""
        if self.path is None:
            yield
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.path.with_name(f"{self.path.name}.lock")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
                # before SQLite makes it for everyone to read; what it puts beside it has the same mode
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Unavailable(
                f"The folder {self.path.parent} of the store cannot be written ({error.strerror}).",
                hint="Give a writable data folder with --data.",
                code="store_folder",
            ) from error

    def _unavailable(self, error: sa.exc.SQLAlchemyError) -> Unavailable:
        told = str(getattr(error, "orig", None) or error).partition("\n")[0]
        if "locked" in told:
            hint = "Another process holds it; try again, and look for a long-running backup."
        elif "no such table" in told or ("relation" in told and "does not exist" in told):
            hint = "Start `ultimate-proxy up` once, which makes the tables."
        elif "unable to open" in told or "readonly" in told:
            hint = "Check that the data folder exists and can be written."
        else:
            hint = "Check that the database runs and that data.store_url is right."
        self._log(f"does not answer ({told})")
        return Unavailable(
            "The store cannot be reached; the server's log tells why.", hint=hint, code="store_unavailable"
        )

    def _log(self, what: str) -> None:
        """Tell the log, not the client, which store it is and what the database says: at once, then each minute."""
        now = time.monotonic()
        if what != self._logged[0] or now - self._logged[1] >= _LOG_AGAIN_S:
            self._logged = (what, now)
            log.warning("The store %s %s.", self._shown(), what)

    def _shown(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _copy(path: Path, to: Path) -> None:
    """Copy a database as it is now, rows that still stand in its write-ahead log included; whole or not at all."""
    making = to.with_name(f"{to.name}.making")
    making.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(making)) as target:
        source.backup(target)
    making.chmod(0o600)
    making.replace(to)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()

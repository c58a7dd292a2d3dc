"""Kills a migration at each of its statements: `python -m tests.store.migrating URL N` brings a store up to date and
is killed, as by `kill -9`, before its statement number N. Exits with 0 when there is no such statement.
"""

from __future__ import annotations

import os
import signal
import sys

import sqlalchemy as sa

from ultimate_lib.store import Store


def killed_at(url: str, number: int) -> None:
    """Migrate, and die before statement `number`, or before the commit when it is the one after the last."""
    left = [number]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    sa.event.listen(sa.Engine, "commit", count)
    Store(url).migrate()


def each(urls: list[str]) -> list[int]:
    """Fork a child for each store, killed at its own number; return the numbers whose child came to its end."""
    from alembic import command  # noqa: F401 - once, before the forks

    ended = []
    for number, url in enumerate(urls, start=1):
        pid = os.fork()
        if pid == 0:
            try:
                killed_at(url, number)
            except Exception as error:  # noqa: BLE001 - a child ends here whatever happens
                print(f"{number}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit(f"statement {number}: the migration failed")
            ended.append(number)
    return ended


if __name__ == "__main__":
    print(*each(sys.argv[1:]))

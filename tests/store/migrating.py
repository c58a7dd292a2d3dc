"""Kills migrations: `python -m tests.store.migrating 1 URL 5 URL` brings each store up to date in its own process.

That is killed, as by `kill -9`, before its statement of that number. Prints the numbers that came to an end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from ultimate_lib.store import Store


def killed_at(url: str, number: int) -> None:
    """Migrate, and die before statement `number`, or before the commit when it is the one after the last."""

    def die(statement: int) -> None:
        if statement == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with told(die):
        Store(url).migrate()


@contextlib.contextmanager
def told(step: Callable[[int], None]) -> Iterator[None]:
    """Tell of each statement before it is run, the first being 1, and of commits likewise."""
    numbers = itertools.count(1)

    def one(*_: object) -> None:
        step(next(numbers))

    for event in ("before_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, event, one)
    try:
        yield
    finally:
        for event in ("before_cursor_execute", "commit"):
            sa.event.remove(sa.Engine, event, one)


def each(urls: dict[int, str]) -> list[int]:
    """Fork a child for each store, killed at its number; return the numbers whose child came to its end."""
    from alembic import command  # noqa: F401 - once, before the forks

    ended = []
    for number, url in urls.items():
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
    print(*each(dict(zip(map(int, sys.argv[1::2]), sys.argv[2::2], strict=True))))

"""The outermost frame of everything that a user's cell runs through: ours may fail, the cell may not."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("ultimate_lib.kernel")
_told: set[str] = set()


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Return the function, which then returns None where it would raise; each function's failure is told once."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - the outermost frame
            failed(function.__qualname__)
            return None

    return call


def failed(name: str) -> None:
    """Log the exception that is being handled, with its traceback the first time."""
    if name in _told:
        log.debug("%s failed again", name, exc_info=True)  # noqa: LOG014 - called in handlers
        return
    _told.add(name)
    log.warning(
        "The Ultimate Proxy extension failed in %s; your cell is not affected. `%%ultimate off` switches it off.",
        name,
        exc_info=True,  # noqa: LOG014 - see above
    )

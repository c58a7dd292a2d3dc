"""Threads and pools carry the cell with them: a thread that of its start, pool work that of its submission.

Tasks of asyncio, `asyncio.to_thread` and anyio's threads copy their context by themselves.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ultimate_lib.kernel import cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.kernel.patches import Patches


def spread(patches: Patches) -> None:
    """Wrap what starts threads and what hands work to pools."""

    def start(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(thread: threading.Thread, *args: Any, **kwargs: Any) -> Any:
            run = cells.current() if patches.active else None
            if run is not None:
                cells.belongs(thread, run)
            return original(thread, *args, **kwargs)

        return wrapped

    def submit(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            run = cells.current() if patches.active else None
            if run is None:
                return original(pool, function, *args, **kwargs)
            return original(pool, cells.within, run, function, *args, **kwargs)

        return wrapped

    patches.replace(threading.Thread, "start", start)
    patches.replace(ThreadPoolExecutor, "submit", submit)

"""Whether the proxy accepts connections, learned from calls that fail and, from then on, by asking each second."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ultimate_lib.kernel.guard import guarded
from ultimate_lib.kernel.proxy import accepts

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_S = 1.0


class Reach:
    """`down` is true from the first refused connection until the proxy accepts one again."""

    def __init__(self, url: str, changed: Callable[[bool], object]) -> None:
        self._url = url
        self._changed = guarded(changed)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.down = False

    @property
    def explanation(self) -> str:
        """What to tell whose call could not be made."""
        return (
            f"The Ultimate Proxy at {self._url} does not accept connections. Start it with `ultimate-proxy up`, "
            "or run `%ultimate off` to call providers directly with your own key."
        )

    def lost(self) -> None:
        """A connection was refused."""
        with self._lock:
            if self.down or self._over.is_set():
                return
            self.down = True
        self._changed(True)
        threading.Thread(target=self._wait, name="ultimate-reach", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._over.set()

    def _wait(self) -> None:
        while not self._over.wait(_EVERY_S):
            if accepts(self._url):
                self.down = False
                self._changed(False)
                return

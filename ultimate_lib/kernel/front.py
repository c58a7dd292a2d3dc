"""Where things are shown: JupyterLab draws them when it has said hello by comm; elsewhere they are plain output.

A Jupyter server's front end may be JupyterLab with our extension, whose hello waits behind the cells that are queued.
What is to be shown before that is held until the hello comes or the kernel has been idle for a moment without it.
Programs that run notebooks (nbclient, papermill) take output only while the cell runs; they get it at once.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from ultimate_lib.kernel.guard import guarded, log

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ultimate_lib.kernel.booking import Told
    from ultimate_lib.kernel.cells import Cells, Run

TARGET = "ultimate_proxy"
VERSION = 1
_GRACE_S = 1.0
_LOOK_S = 0.1


class Front:
    """The front end of this kernel. `heard` is told what a front end says."""

    def __init__(
        self, shell: InteractiveShell, cells: Cells, heard: Callable[[dict[str, Any]], object], *, session: bool
    ) -> None:
        self._shell = shell
        self._cells = cells
        self._heard = guarded(heard)
        self._lock = threading.Lock()
        self._comms: dict[str, Any] = {}  # open ones by id
        self._greeted: set[str] = set()  # of them, those whose other side said hello
        self._waits = session and self._kernel is not None
        self._held: list[tuple[dict[str, Any], str, Run | None]] = []
        self._looks = False
        self._manager: Any = None

    @property
    def by_comm(self) -> bool:
        """Whether a JupyterLab with our extension draws what is shown."""
        return bool(self._greeted)

    @property
    def immediate(self) -> bool:
        """Whether output has to come before the cell ends."""
        return not self._greeted and not self._waits

    @guarded
    def open(self) -> None:
        """Speak to the front end, and let it speak to us."""
        if self._kernel is None:
            return
        import comm  # noqa: PLC0415 - ipykernel has loaded it

        self._manager = comm.get_comm_manager()
        self._manager.register_target(TARGET, self._opened)
        self._listen(comm.create_comm(target_name=TARGET, data={"version": VERSION}))

    @guarded
    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            comms = list(self._comms.values())
            self._comms.clear()
            self._greeted.clear()
        for each in comms:
            each.close()
        if self._manager is not None:
            self._manager.unregister_target(TARGET, self._opened)
            self._manager = None

    def show(self, told: Told) -> None:
        """Show a run's line under its cell."""
        self._put(told.message(), told.line, told.run)

    def welcome(self, text: str, run: Run | None) -> None:
        """Show what there is to say when all is well: in JupyterLab nothing of it is saved either."""
        message = {
            "event": "cell", "cell_id": run.cell_id if run is not None else None, "line": text, "calls": 0,
            "input_tokens": None, "output_tokens": None, "cost_nano_usd": None, "unpriced": 0, "errors": 0,
            "pending": 0,
        }  # fmt: skip
        self._put(message, text, run)

    @guarded
    def send(self, message: dict[str, Any]) -> None:
        """Tell every front end that said hello."""
        with self._lock:
            comms = [self._comms[one] for one in self._greeted]
        for each in comms:
            each.send(message)

    @guarded
    def plain(self, text: str, run: Run | None, stream: str = "stdout") -> None:
        """Write a line of text under a run's cell."""
        out = sys.stderr if stream == "stderr" else sys.stdout
        kernel = self._kernel
        if kernel is None or run is None:
            print(text, file=out, flush=True)
            return
        out.flush()  # what the cell wrote comes first
        kernel.session.send(
            kernel.iopub_socket, "stream", {"name": stream, "text": f"{text}\n"},
            parent=run.parent, ident=f"stream.{stream}".encode(),
        )  # fmt: skip

    @property
    def _kernel(self) -> Any:
        return getattr(self._shell, "kernel", None)

    def _put(self, message: dict[str, Any], text: str, run: Run | None) -> None:
        with self._lock:
            waits = self._waits and not self._greeted
            if waits:
                self._held.append((message, text, run))
        if waits:
            self._look()
        elif self.by_comm:
            self.send(message)
        else:
            self.plain(text, run)

    def _look(self) -> None:
        with self._lock:
            if self._looks:
                return
            self._looks = True
        threading.Thread(target=self._await_hello, name="ultimate-hello", daemon=True).start()

    @guarded
    def _await_hello(self) -> None:
        while self._waits and not self._greeted:
            time.sleep(_LOOK_S)
            if self._cells.busy <= 0 and time.monotonic() - self._cells.changed_at > _GRACE_S:
                self._waits = False
        with self._lock:
            self._looks = False
        self._release()

    def _release(self) -> None:
        with self._lock:
            held, self._held = self._held, []
        for message, text, run in held:
            if self.by_comm:
                self.send(message)
            else:
                self.plain(text, run)

    @guarded
    def _opened(self, channel: Any, message: dict[str, Any]) -> None:
        """A front end opens a comm: that is its hello."""
        self._listen(channel)
        self._hear(channel.comm_id, {"event": "hello", **message["content"]["data"]})

    def _listen(self, channel: Any) -> None:
        with self._lock:
            self._comms[channel.comm_id] = channel

        def heard(message: dict[str, Any]) -> None:
            self._hear(channel.comm_id, message["content"]["data"])

        def closed(_: dict[str, Any]) -> None:
            with self._lock:
                self._comms.pop(channel.comm_id, None)
                self._greeted.discard(channel.comm_id)

        channel.on_msg(guarded(heard))
        channel.on_close(guarded(closed))

    def _hear(self, comm_id: str, data: dict[str, Any]) -> None:
        if data.get("event") == "hello":
            if data.get("version", VERSION) != VERSION:
                log.warning("JupyterLab's Ultimate Proxy extension is of another version: install the same here.")
                return
            with self._lock:
                self._greeted.add(comm_id)
        self._heard(data)
        if data.get("event") == "hello":
            self._release()

"""The extension: one object a kernel, which switches everything on and off."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from claude_proxy.errors import ProxyError
from ultimate_lib.kernel import notebook, proxy, spread
from ultimate_lib.kernel.booking import WAIT_S, Booking
from ultimate_lib.kernel.cells import Cells, current
from ultimate_lib.kernel.clients import Clients
from ultimate_lib.kernel.environment import Environment
from ultimate_lib.kernel.front import Front
from ultimate_lib.kernel.guard import failed, guarded
from ultimate_lib.kernel.patches import Imports, Patches
from ultimate_lib.kernel.reach import Reach
from ultimate_lib.kernel.traffic import Tags, Traffic

if TYPE_CHECKING:
    from types import ModuleType

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from ultimate_lib.kernel.booking import Told
    from ultimate_lib.kernel.cells import Run
    from ultimate_lib.kernel.proxy import Checked

_WAIT_MORE_S = 0.3  # beyond the wait for rows, for the answer that is under way


class Routed:
    """What stands while calls go through the proxy, and falls with `close`."""

    def __init__(self, checked: Checked, extension: Extension) -> None:
        place = checked.place
        self.checked = checked
        self.environment = Environment()
        self.patches = Patches()
        self.reach = Reach(place.url, extension.reach_changed)
        self.booking = Booking(place, extension.kernel_id)
        tags = Tags(extension.kernel_id, lambda: extension.notebook.path)
        self.traffic = Traffic(place.url, place.key, tags, self.reach, extension.call_ended)
        self.clients = Clients(place.url, place.key, self.environment.before)
        self.imports = Imports(
            {"httpx": self._http, "httpx2": self._http, "openai": self._package, "anthropic": self._package}
        )

    def open(self) -> None:
        """Lead everything to the proxy."""
        self.environment.point(self.checked.place.url, self.checked.place.key)
        self.imports.install()
        spread.spread(self.patches)
        self.clients.lead_all()
        self.booking.warm()

    def close(self) -> None:
        """Put everything back."""
        self.imports.remove()
        for undo in (self.clients.release_all, self.patches.undo, self.environment.restore, self.reach.close):
            try:
                undo()
            except Exception:  # noqa: BLE001 - the next is undone all the same
                failed(undo.__qualname__)
        self.booking.close()

    def _http(self, module: ModuleType) -> None:
        self.traffic.watch(module, self.patches)

    def _package(self, module: ModuleType) -> None:
        self.clients.watch(module, self.patches)
        self.traffic.explain(module, self.patches)


class Extension:
    """Everything of ours in a kernel."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.notebook = notebook.Notebook(shell)
        self.kernel_id = notebook.kernel_id(shell)
        self.cells = Cells(shell, self.notebook.name)
        self.front = Front(shell, self.cells, self._heard, session=bool(self.notebook.session))
        self.line_on = True
        self.routed: Routed | None = None
        self.reason = ""  # why calls are not routed
        self._begin = guarded(self.cells.begin)

    def open(self) -> None:
        """Begin to follow cells, and route."""
        self.shell.events.register("pre_run_cell", self._cell_begins)
        self.shell.events.register("post_run_cell", self._cell_ended)
        self.cells.begin_here()
        self.front.open()
        self.on()

    def close(self) -> None:
        """Route no more and be gone."""
        self.off(reason="The extension is unloaded.")
        self.shell.events.unregister("pre_run_cell", self._cell_begins)
        self.shell.events.unregister("post_run_cell", self._cell_ended)
        self.front.close()

    def on(self) -> None:
        """Route calls through the proxy if it will do, and say so, or say why not."""
        if self.routed is not None:
            self._withdraw()
        try:
            checked = proxy.check()
        except ProxyError as error:
            self.reason = str(error)
            self.front.plain(
                f"LLM calls of this notebook do NOT go through the Ultimate Proxy; clients are left as they are. "
                f"{error} Then `%ultimate on`.", current(), "stderr",
            )  # fmt: skip
            self.state()
            return
        routed = Routed(checked, self)
        try:
            routed.open()
        except BaseException:
            routed.close()
            raise
        self.routed, self.reason = routed, ""
        self.front.welcome(self._welcome(routed), current())
        self.state()

    def off(self, reason: str = "Switched off by %ultimate off.") -> None:
        """Route no more: everything is as it was before."""
        self.reason = reason
        self._withdraw()
        self.state()

    def state(self) -> None:
        """Tell front ends how it stands."""
        self.front.send(self.state_message())

    def state_message(self) -> dict[str, Any]:
        """Return how it stands, as JupyterLab takes it."""
        routed = self.routed
        if routed is None:
            return {"event": "state", "routed": False, "url": None, "reason": self.reason}
        down = routed.reach.down
        reason = routed.reach.explanation if down else ""
        return {"event": "state", "routed": not down, "url": routed.checked.place.url, "reason": reason}

    def call_ended(self, run: Run) -> None:
        """Tell anew about a cell that has ended when the last of its calls does."""
        routed = self.routed
        if routed is not None and run.ended.is_set() and not run.running and self.line_on and self.front.by_comm:
            routed.booking.ask(run, self._show)

    def reach_changed(self, down: bool) -> None:
        """Warn once when the proxy goes away; calls find their way by themselves."""
        routed = self.routed
        if down and routed is not None:
            self.front.plain(
                f"The Ultimate Proxy at {routed.checked.place.url} does not accept connections. Until it does, calls "
                "of clients that have a key of their own go directly to their provider, unrecorded; others fail. "
                "Start it with `ultimate-proxy up`, or `%ultimate off`.", current(), "stderr",
            )  # fmt: skip
        self.state()

    def _withdraw(self) -> None:
        routed, self.routed = self.routed, None
        if routed is not None:
            routed.close()

    def _welcome(self, routed: Routed) -> str:
        url = routed.checked.place.url
        parts = [f"Calls from this notebook go through {url}{' (demo data)' if routed.checked.demo else ''}"]
        if len(routed.clients):
            count = len(routed.clients)
            parts[0] += f", {count} existing client{'s' if count != 1 else ''} included"
        left = routed.environment.left
        if left:
            name = next(iter(left))
            parts.append(f"{name} points to {left[name]} and is left: unset it and `%ultimate on` to route it too")
        parts.append(
            "Call a model: its cost appears under the cell; `%ultimate` tells more, `%ultimate off` undoes it"
        )
        return ". ".join(parts) + "."

    def _show(self, told: Told) -> None:
        if self.line_on:
            self.front.show(told)

    def _cell_begins(self, info: ExecutionInfo) -> None:
        self._begin(info)

    @guarded
    def _cell_ended(self, _result: ExecutionResult | None) -> None:
        run = self.cells.end()
        routed = self.routed
        if run is None or routed is None or not run.called:
            return
        routed.booking.keep(run)
        if not self.line_on:
            return
        if not self.front.immediate:
            routed.booking.ask(run, self._show)
            return
        task = routed.booking.ask(run)
        try:
            task.done.wait(WAIT_S + _WAIT_MORE_S)
        except KeyboardInterrupt:  # the user does not want to wait for us
            return
        if task.told is not None and task.told.line:
            self.front.show(task.told)

    def _heard(self, data: dict[str, Any]) -> None:
        event = data.get("event")
        if event in {"hello", "path"}:
            path = data.get("path")
            if isinstance(path, str) and path:
                self.notebook.told = path
            if event == "hello":
                self.state()
        elif event == "line":
            self.line_on = data.get("on") is not False
        elif event == "on":
            self.on()
        elif event == "off":
            self.off(reason="Switched off in JupyterLab.")


_loaded: dict[int, Extension] = {}  # by the shell's id


def loaded(shell: InteractiveShell) -> Extension | None:
    """Return the extension of a shell, None when it is not loaded."""
    return _loaded.get(id(shell))


def load(shell: InteractiveShell) -> None:
    """Load the extension, or check again when it is loaded. Never raises."""
    from ultimate_lib.kernel import magic  # noqa: PLC0415 - IPython's part, which is loaded in a kernel

    try:
        extension = loaded(shell)
        if extension is None:
            extension = _loaded[id(shell)] = Extension(shell)
            magic.register(shell)
            extension.open()
        elif extension.routed is None:
            extension.on()
    except Exception as error:  # noqa: BLE001 - the outermost frame: a cell never fails because of us
        failed("load")
        print(f"The Ultimate Proxy extension could not be loaded: {error}", file=sys.stderr)  # noqa: T201


def unload(shell: InteractiveShell) -> None:
    """Restore everything. Never raises."""
    from ultimate_lib.kernel import magic  # noqa: PLC0415 - see above

    extension = _loaded.pop(id(shell), None)
    if extension is None:
        return
    try:
        extension.close()
        magic.unregister(shell)
    except Exception:  # noqa: BLE001 - the outermost frame
        failed("unload")

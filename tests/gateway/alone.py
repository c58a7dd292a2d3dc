"""A gateway process by itself, without a supervisor: `python -m tests.gateway.alone FOLDER CONFIG`.

Whoever starts it has prepared the store, as in the product, where another process does: a gateway loads no Alembic.
Prints one JSON line (port, key, pid) once it serves. Drains on SIGTERM and dies with its parent. DEMO_URL in the
environment is where the scripted provider listens; IDLE_S and LINGER_S are how long connections may keep silent.
With SWITCHED there SIGUSR1 has it go by no limits and SIGUSR2 by them again, at once and with nothing else changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from proxy_server import process, sockets
from proxy_server.gateway import admit, guard, server, state
from proxy_server.gateway.relay import Relay
from ultimate_lib.access.local import local_path
from ultimate_lib.journal import JournalWriter
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load


class Switched(admit.Admission):
    """Admission that takes itself for idle, as it is without limits, from one signal to the other."""

    def __init__(self, of: state.State) -> None:
        super().__init__(of)
        signal.signal(signal.SIGUSR1, lambda *_: self._switch(idle=True))
        signal.signal(signal.SIGUSR2, lambda *_: self._switch(idle=self.counters.idle))

    def _switch(self, *, idle: bool) -> None:
        self.idle = idle


class Announced(process.Child):
    """A child that tells its port and key on standard output instead of to a supervisor."""

    def ready(self, told: bytes = b"") -> None:
        assert self.listener is not None
        key = json.loads(local_path(self.settings).read_text(encoding="utf-8"))["key"]
        print(json.dumps({"port": self.listener.getsockname()[1], "key": key, "pid": os.getpid()}), flush=True)


def _late_row(writer: JournalWriter, record: CallRecord, *charge: object) -> None:
    asyncio.get_running_loop().call_later(0.3, _call, writer, record, *charge)


_call = JournalWriter.call
MUTANTS: dict[str, tuple[type, str, Callable[..., object]]] = {
    "no_cancel": (Relay, "_client_left", lambda relay: None),
    "late_row": (JournalWriter, "call", _late_row),
}
"""Faults that tests put in to prove that they would be seen: what is replaced, and by what. MUTANT names one."""


def main() -> int:
    folder, config = Path(sys.argv[1]), Path(sys.argv[2])
    settings = load(config, overrides={"data.folder": str(folder)})
    process._die_with_parent()
    if "BEAT_S" in os.environ:
        server._SWEEP_S = admit._BEAT_S = guard._BEAT_S = float(os.environ["BEAT_S"])
    server._IDLE_CONNECTION_S = float(os.environ.get("IDLE_S", server._IDLE_CONNECTION_S))
    server._LINGER_S = float(os.environ.get("LINGER_S", server._LINGER_S))
    if "SWITCHED" in os.environ:
        vars(state)["Admission"] = Switched
    if "MUTANT" in os.environ:
        setattr(*MUTANTS[os.environ["MUTANT"]])
    child = Announced(settings, "gateway", 0, sockets.loopback(), "", os.environ.get("DEMO_URL", ""))
    return process.run_child(child, life_fd=None)


if __name__ == "__main__":
    sys.exit(main())

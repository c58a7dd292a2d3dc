"""Where a child begins: `python -P …/proxy_server/child.py ROLE SLOT`, with its handoff on standard input.

The role's modules are imported first, while the supervisor still prepares the store; then it says "go".
"""

from __future__ import annotations

import gc
import importlib
import signal
import sys
from pathlib import Path


def main(role: str, slot: int) -> int:
    """Be a child; return the exit status."""
    gc.disable()  # until it runs: next to nothing that imports make is garbage, and looking for it is a sixth of them
    import msgspec  # noqa: PLC0415 - the search path has to be right first

    from proxy_server import process  # noqa: PLC0415

    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches the whole group; the supervisor acts on it
    importlib.import_module(process.ROLES[role])
    handoff = msgspec.json.decode(sys.stdin.buffer.read(), type=process.Handoff)
    return process.run_handed(role, slot, handoff)


if __name__ == "__main__":
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    sys.exit(main(sys.argv[1], int(sys.argv[2])))

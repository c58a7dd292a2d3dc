"""Where JupyterLab begins: `python -P …/child.py LIFE_FD`, its arguments as JSON on standard input.

The end of the life pipe means that the supervisor is gone: then it ends its kernels and itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

_GRACE_S = 8.0  # for Jupyter's own way of ending, kernels first


def main(life_fd: int) -> None:
    """Be JupyterLab."""
    os.set_inheritable(life_fd, False)
    arguments = json.load(sys.stdin)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_leave_with, args=(life_fd,), daemon=True).start()
    from jupyterlab.labapp import LabApp  # noqa: PLC0415 - a second; the pipe is watched before

    sys.argv = ["jupyter-lab"]  # it looks there for its own name; arguments with a token are handed over
    LabApp.launch_instance(argv=arguments)


def _leave_with(life_fd: int) -> None:
    """Wait for the supervisor's end; then ask Jupyter to end, and after a while do not ask any more."""
    while os.read(life_fd, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    import psutil  # noqa: PLC0415 - nobody needs it before

    for kernel in psutil.Process().children(recursive=True):
        kernel.kill()
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))

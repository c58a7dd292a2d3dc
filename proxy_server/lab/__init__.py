"""JupyterLab beside the proxy: `ultimate-proxy up --lab` starts it, tells its address, and ends it with the proxy.

lab = Lab()                 # raises `Unavailable` that names the extra when JupyterLab is not installed
lab.prepare(settings)       # once the proxy's own port is known
lab.url                     # http://127.0.0.1:8888/lab/tree/tour.ipynb?token=…
lab.start()                 # once the proxy's pages answer: they go first
"""

from __future__ import annotations

from proxy_server.lab.lab import Lab

__all__ = ["Lab"]

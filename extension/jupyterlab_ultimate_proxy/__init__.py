"""The server side of the JupyterLab extension: routes under /ultimate-proxy/ that ask the proxy with its key.

    jupyter server extension list

The browser never holds the proxy's key and never names its address; both are found here, where the command line and
the Python client find them, too.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
NAME = "@ultimate-proxy/jupyterlab"


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where the built front end stands, in a source tree."""
    return [{"src": "labextension", "dest": NAME}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter Server which module to load."""
    return [{"module": "jupyterlab_ultimate_proxy"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the routes to a starting Jupyter server."""
    from jupyterlab_ultimate_proxy.routes import add  # noqa: PLC0415 - nothing loads before a server asks

    add(server.web_app)
    server.log.info("Ultimate Proxy: its routes are under /ultimate-proxy/.")

"""Listening sockets: one per gateway slot on the public address, and loopback ones for control and the demo."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys

from ultimate_lib.errors import UltimateError, Unavailable

MOST_BODY_BYTES = 1024 * 1024
"""Body of a request that control takes. The gateway refuses more: control ends a connection that announces it."""
_BACKLOG = 4096
_PRIVILEGED = 1024


def listen(host: str, port: int, *, count: int = 1) -> list[socket.socket]:
    """Return `count` sockets on one address, among which the kernel spreads connections; port 0 takes a free one.

    macOS does not spread: there all slots share one socket. Raises `Unavailable` with a way out when the address is
    taken, even by a process that would share it.
    """
    probe = _bound(host, port, reuse_port=False)
    port = probe.getsockname()[1]
    if count == 1 or sys.platform == "darwin":
        probe.listen(_BACKLOG)
        return [probe] * count
    probe.close()
    sockets = [_bound(host, port, reuse_port=True) for _ in range(count)]
    for listener in sockets:
        listener.listen(_BACKLOG)
    return sockets


def loopback() -> socket.socket:
    """Return a socket on a free port of this machine alone."""
    return listen("127.0.0.1", 0)[0]


def address_of(listener: socket.socket) -> str:
    """Return `host:port` of an IPv4 loopback socket."""
    host, port = listener.getsockname()
    return f"{host}:{port}"


def _bound(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Unavailable(
            f"server.bind = '{host}' is no address of this machine ({error.strerror}).",
            hint="Use 127.0.0.1, or an address that `ip address` lists.",
            code="bind",
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot(host, port, error) from error
    listener.setblocking(False)
    return listener


def _cannot(host: str, port: int, error: OSError) -> UltimateError:
    if isinstance(error, PermissionError) and port < _PRIVILEGED:
        hint = "Ports below 1024 belong to the administrator: choose another with --port."
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = (
            "It is none of this machine: give another with --bind, such as 127.0.0.1 or one that `ip address` lists."
        )
        return Unavailable(f"The address {host} cannot be listened on ({error.strerror}).", hint=hint, code="bind")
    else:
        hint = f"{holder_of(port)}Choose another with --port, or stop what listens there."
    return Unavailable(f"The address {host}:{port} cannot be taken ({error.strerror}).", hint=hint, code="port_taken")


def holder_of(port: int) -> str:
    """Return a sentence that names the process listening on a port, or nothing when that cannot be seen."""
    import psutil  # noqa: PLC0415 - needed in this case alone

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                return f"Process {connection.pid} ({psutil.Process(connection.pid).name()}) holds it. "
    return ""

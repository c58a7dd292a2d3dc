"""What every command works with: its arguments, a client, and a place to write to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from claude_proxy import config, places
from claude_proxy.cli.output import Output
from claude_proxy.client import ClaudeProxyClient
from claude_proxy.errors import BadRequest, ProxyError

if TYPE_CHECKING:
    import argparse

_TIMEOUT_S = 30.0


class Session:
    """One run of a command."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        told = {} if arguments.mends_config else places.read_config()
        form = arguments.output or told.get("output") or "table"
        if form not in config.OUTPUTS:
            raise BadRequest(
                f"output = '{form}' in {places.config_path()} is none of {', '.join(config.OUTPUTS)}.",
                hint="Mend it: claude-proxy config set output table",
                code="setting",
            )
        self.output = Output(form)
        self._timeout = arguments.timeout or told.get("timeout") or _TIMEOUT_S
        self._client: ClaudeProxyClient | None = None

    @property
    def client(self) -> ClaudeProxyClient:
        """The client, made with the first use. Raises `ProxyError`."""
        if self._client is None:
            self._client = ClaudeProxyClient(self.arguments.url, self.given_key(), timeout=float(self._timeout))
        return self._client

    def given_key(self) -> str | None:
        """Return the key in the file that --key-file names; `-` is standard input. Raises `ProxyError`."""
        name = self.arguments.key_file
        if name is None:
            return None
        try:
            text = sys.stdin.read() if name == "-" else Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProxyError(f"The key file {name} cannot be read ({error}).", code="key_file") from error
        if not text.strip():
            raise ProxyError(f"The key file {name} is empty.", hint="Write the key into it.", code="key_file")
        return text.strip()

    def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            self._client.close()


def secret(prompt: str) -> str:
    """Return a secret: typed unseen on a terminal, else the first line of standard input. Never an argument."""
    if sys.stdin.isatty():
        import getpass  # noqa: PLC0415 - seldom needed

        text = getpass.getpass(f"{prompt}: ")
    else:
        text = sys.stdin.readline()
    if not text.strip():
        raise BadRequest(f"No {prompt} was given.", hint="Type it, or send it on standard input.", code="secret")
    return text.strip()

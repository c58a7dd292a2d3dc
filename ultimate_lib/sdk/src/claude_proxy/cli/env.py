"""`env`: what a shell must export so that OpenAI and Anthropic clients call through the proxy."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_proxy.cli.parser import command
from claude_proxy.errors import ProxyError

if TYPE_CHECKING:
    from claude_proxy.cli.session import Session

SHELLS = ("sh", "fish", "powershell")
_HOW = {
    "sh": 'eval "$(claude-proxy env)"',
    "fish": "claude-proxy env --shell fish | source",
    "powershell": "claude-proxy env --shell powershell | Out-String | Invoke-Expression",
}
_POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"  # PowerShell takes each of them for a quote


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands, "env", _env, says="Exports that point OpenAI and Anthropic clients at the proxy, key included.",
        example='eval "$(claude-proxy env)"',
    )  # fmt: skip
    parser.add_argument("--shell", choices=SHELLS, help="default: by SHELL")


def _env(session: Session) -> int:
    client, output = session.client, session.output
    if not client.key:
        raise ProxyError(
            f"There is no key for {client.url}.",
            hint="Give one: CLAUDE_PROXY_API_KEY, or `claude-proxy config set api_key`.",
            code="no_key",
        )
    told = {
        "OPENAI_BASE_URL": f"{client.url}/v1",
        "OPENAI_API_KEY": client.key,
        "ANTHROPIC_BASE_URL": client.url,
        "ANTHROPIC_AUTH_TOKEN": client.key,
        "ANTHROPIC_API_KEY": "",  # it would go before the token
    }
    if output.form == "json":
        output.json(told)
        return 0
    shell = session.arguments.shell or usual_shell()
    for name, value in told.items():
        output.line(export(shell, name, value))
    if sys.stdout.isatty():
        output.say(f"# To put this in force: {_HOW[shell]}")
    return 0


def usual_shell() -> str:
    """Return which of the shells the user's own is like."""
    if sys.platform == "win32":
        return "powershell"
    name = Path(os.environ.get("SHELL", "")).name
    return {"fish": "fish", "pwsh": "powershell"}.get(name, "sh")


def export(shell: str, name: str, value: str) -> str:
    """Return the line that sets a variable, with nothing in the value that the shell would act on."""
    if shell == "fish":
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{escaped}';"
    if shell == "powershell":
        doubled = "".join(letter * 2 if letter in _POWERSHELL_QUOTES else letter for letter in value)
        return f"$env:{name} = '{doubled}'"
    return f"export {name}={shlex.quote(value)}"

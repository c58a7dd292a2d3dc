"""`ultimate-proxy COMMAND`, the same as `python -m proxy_server COMMAND`; without a command it is `up`."""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from collections.abc import Sequence

# command → module with `add(subparsers)`; a command's parser sets `run`, a function of the parsed arguments
COMMANDS = {
    "up": "proxy_server.commands.up",
    "check": "proxy_server.commands.check",
    "doctor": "proxy_server.commands.doctor",
    "reload": "proxy_server.commands.signals",
    "stop": "proxy_server.commands.signals",
    "status": "proxy_server.commands.signals",
    "link": "proxy_server.commands.link",
    "secrets": "proxy_server.commands.secrets",
    "audit": "proxy_server.commands.audit",
    "replay": "proxy_server.replay",
    "import": "proxy_server.importing",
}
_EPILOG = "`ultimate-proxy COMMAND --help` tells what a command takes. Without a command it is `up`."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 well, 1 with a sentence on standard error, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in {"-h", "--help", "--version"}):
        given.insert(0, "up")
    parsed = _parser(given[0]).parse_args(given)
    try:
        return int(parsed.run(parsed))
    except UltimateError as error:
        print(f"ultimate-proxy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ultimate-proxy",
        description="A proxy in front of LLM providers that remembers every call.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modules = [COMMANDS[command]] if command in COMMANDS else dict.fromkeys(COMMANDS.values())
    for module in modules:
        importlib.import_module(module).add(subparsers)
    return parser


def _version() -> str:
    try:
        return version("ultimate-proxy")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())

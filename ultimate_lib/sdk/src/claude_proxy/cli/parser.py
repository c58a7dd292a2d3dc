"""The commands and what they take. Each group of commands is a module with `add(commands)`."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, Any, NoReturn

from claude_proxy.about import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claude_proxy.cli.session import Session

PROGRAM = "claude-proxy"
_GROUPS = (
    "numbers", "predictive", "guard", "calls", "spending", "env", "configure", "keys", "people", "budgets", "limits",
    "providers", "system", "completion",
)  # fmt: skip
_EPILOG = """\
exit status: 0 well, 1 an error, 2 wrong usage, 3 not allowed, 4 `cost` is above its limit.
address and key: --url and --key-file, then CLAUDE_PROXY_URL and CLAUDE_PROXY_API_KEY, then
~/.claude_proxy/config.json, then the proxy on this computer.

example: claude-proxy analytics --start 2026-01-01 --end 2026-01-05"""


class Parser(argparse.ArgumentParser):
    """A parser that keeps the lines of its examples and takes no shortened flags."""

    def __init__(self, **told: Any) -> None:
        told.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **told)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the help is, and leave with status 2."""
        self.exit(2, f"{self.prog}: {message}\nSee: {self.prog} --help\n")


def parser() -> Parser:
    """Return the whole command line."""
    top = Parser(prog=PROGRAM, description="The numbers, calls and keys of an Ultimate Proxy.", epilog=_EPILOG)
    top.add_argument("--version", action="version", version=__version__)
    _add_global(top, default=None)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name in _GROUPS:
        importlib.import_module(f"claude_proxy.cli.{name}").add(commands)
    return top


def command(
    commands: Any,
    name: str,
    run: Callable[[Session], int] | None,
    *,
    says: str,
    example: str,
    mends_config: bool = False,
) -> Parser:
    """Add a command with its sentence and its example, and return its parser; without `run` it is a group."""
    added: Parser = commands.add_parser(name, help=says, description=says, epilog=f"example: {example}")
    _add_global(added, default=argparse.SUPPRESS)
    if run is not None:
        added.set_defaults(run=run, mends_config=mends_config)
    return added


def group(parent: Parser, *, required: bool = False) -> Any:
    """Return where the commands of a group are added."""
    return parent.add_subparsers(title="commands", metavar="COMMAND", required=required, parser_class=Parser)


def leaves(
    parsed: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command that can be run, as it is typed, and its parser."""
    below = subcommands(parsed)
    if path and parsed.get_default("run") is not None:
        yield " ".join(path), parsed
    for name, child in below.items():
        yield from leaves(child, (*path, name))


def subcommands(parsed: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands right below a parser."""
    for action in parsed._actions:  # noqa: SLF001 - argparse tells its actions in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            return dict(action.choices)
    return {}


def _add_global(added: argparse.ArgumentParser, *, default: Any) -> None:
    """Add the flags that stand before or after a command."""
    flags = added.add_argument_group("for every command")
    flags.add_argument("--url", metavar="URL", default=default, help="address of the proxy")
    flags.add_argument("--key-file", metavar="FILE", default=default, help="file with the key; - is standard input")
    flags.add_argument("--output", "-o", choices=("table", "json", "csv"), default=default, help="form of the answer")
    flags.add_argument("--timeout", type=seconds, metavar="S", default=default, help="longest silence of the proxy")


def seconds(text: str) -> float:
    """Return a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:  # noqa: PLR2004 - an hour; also refuses what is no number
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds up to 3600")
    return value


def if_version(added: argparse.ArgumentParser) -> None:
    """Add --if-version."""
    says = "change nothing unless this is still its version (it is in --output json)"
    added.add_argument("--if-version", type=int, metavar="N", help=says)


def add_span(added: argparse.ArgumentParser, default: str) -> None:
    """Add --start, --end, --filter and --time-zone."""
    added.add_argument("--start", metavar="DAY", help=f"first day, or an instant (default: {default})")
    added.add_argument("--end", metavar="DAY", help="last day, included, or an instant (default: now)")
    add_filter(added)
    added.add_argument("--time-zone", metavar="ZONE", help="IANA zone that cuts days (default: the proxy's)")


def add_filter(added: argparse.ArgumentParser) -> None:
    """Add --filter and --tag."""
    added.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="only such calls, e.g. model:claude-haiku-4-5; repeat it: same name means or, another name and",
    )
    added.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="only calls with this tag")


def filters_of(arguments: argparse.Namespace) -> list[str]:
    """Return what --filter and --tag ask for."""
    return [*arguments.filter, *(f"tag:{tag}" for tag in arguments.tag)]

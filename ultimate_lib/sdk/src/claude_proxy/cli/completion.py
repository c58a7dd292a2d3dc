"""`completion`: what makes a shell complete commands, flags and their choices. Made from the parser itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from claude_proxy.cli.parser import PROGRAM, command, parser, subcommands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_proxy.cli.session import Session

_HOW = {
    "bash": 'eval "$(claude-proxy completion bash)"',
    "zsh": 'eval "$(claude-proxy completion zsh)"',
    "fish": "claude-proxy completion fish | source",
}
_BASH = """\
# {how}
_claude_proxy() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} path= at next
  for ((at = 1; at < COMP_CWORD; at++)); do
    next=${{COMP_WORDS[at]}}
    case " {paths} " in *" ${{path:+$path/}}$next "*) path=${{path:+$path/}}$next ;; esac
  done
  case $previous in
{choices}
  esac
  case $path in
{words}
  esac
}}
complete -o default -F _claude_proxy claude-proxy
"""


def add(commands: Any) -> None:
    """Add the command."""
    added = command(
        commands, "completion", _completion, says="What makes a shell complete this command line.",
        example='eval "$(claude-proxy completion bash)"',
    )  # fmt: skip
    added.add_argument("shell", choices=tuple(_HOW))


def _completion(session: Session) -> int:
    shell = session.arguments.shell
    session.output.out.write(fish() if shell == "fish" else bash() if shell == "bash" else zsh())
    return 0


def bash(how: str = _HOW["bash"]) -> str:
    """Return the script for bash."""
    tree = list(_tree(parser()))
    words: list[str] = []
    choices: dict[str, list[str]] = {}
    for path, parsed in tree:
        flags = [flag for action in parsed._actions for flag in action.option_strings]  # noqa: SLF001 - see parser
        words.append(_case("/".join(path), [*subcommands(parsed), *_positional(parsed), *flags]))
        for action in parsed._actions:  # noqa: SLF001 - see parser
            if action.choices and action.option_strings:
                told = choices.setdefault("|".join(action.option_strings), [])  # commands may differ in them
                told += [str(choice) for choice in action.choices if str(choice) not in told]
    return _BASH.format(
        how=how,
        paths=" ".join("/".join(path) for path, _ in tree if path),
        choices="\n".join(_case(flags, told, then="return") for flags, told in choices.items()),
        words="\n".join(words),
    )


def zsh() -> str:
    """Return the script for zsh: it runs bash's through its own `bashcompinit`."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash(_HOW['zsh'])}"


def fish() -> str:
    """Return the script for fish."""
    lines = [f"# {_HOW['fish']}", f"complete -c {PROGRAM} -f"]
    for path, parsed in _tree(parser()):
        below = subcommands(parsed)
        when = _fish_when(path, list(below))
        helps = _helps(parsed)
        lines += [f"complete -c {PROGRAM} {when} -a {name} -d {_fish(helps.get(name, ''))}" for name in below]
        lines += [f"complete -c {PROGRAM} {when} -a {choice}" for choice in _positional(parsed)]
        for action in parsed._actions:  # noqa: SLF001 - see parser
            lines += _fish_flag(when, action)
    return "\n".join(lines) + "\n"


def _tree(
    parsed: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    yield path, parsed
    for name, child in subcommands(parsed).items():
        yield from _tree(child, (*path, name))


def _case(pattern: str, words: list[str], then: str = "") -> str:
    quoted, after = pattern or "''", f"; {then}" if then else ""
    return f"    {quoted}) COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$word\")){after} ;;"


def _positional(parsed: argparse.ArgumentParser) -> list[str]:
    """Return the choices of arguments that are no flags and no commands."""
    found: list[str] = []
    for action in parsed._actions:  # noqa: SLF001 - see parser
        if not action.option_strings and action.choices and not isinstance(action.choices, dict):
            found += [str(choice) for choice in action.choices]
    return found


def _helps(parsed: argparse.ArgumentParser) -> dict[str, str]:
    for action in parsed._actions:  # noqa: SLF001 - see parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - see parser
            return {str(choice.dest): choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
    return {}


def _fish_when(path: tuple[str, ...], below: list[str]) -> str:
    tests = [f"__fish_seen_subcommand_from {name}" for name in path]
    if below:
        tests.append(f"not __fish_seen_subcommand_from {' '.join(below)}")
    return f"-n '{'; and '.join(tests)}'" if tests else ""


def _fish_flag(when: str, action: argparse.Action) -> list[str]:
    names = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in action.option_strings]
    if not names:
        return []
    takes = " -x" if action.choices else "" if action.nargs == 0 else " -r"
    told = f" -a '{' '.join(map(str, action.choices))}'" if action.choices else ""
    help_text = f" -d {_fish(action.help)}" if action.help else ""
    return [f"complete -c {PROGRAM} {when} {' '.join(names)}{takes}{told}{help_text}"]


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

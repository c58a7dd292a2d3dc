"""The words of `%ultimate`, and their completion by tab."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Any

from claude_proxy.errors import ProxyError
from ultimate_lib.kernel.guard import failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext
    from IPython.core.interactiveshell import InteractiveShell

    from ultimate_lib.kernel.extension import Extension

NAME = "ultimate"
_MATCHER = "ultimate_lib.magic"
WORDS = {
    "": "how it stands",
    "cost": "what this notebook cost, by cell: a frame and a chart",
    "calls": "this notebook's calls, as a frame",
    "forecast": "what the next 7 days will cost, as a frame",
    "off": "restore clients and environment: calls go directly to their providers",
    "on": "route calls through the proxy again",
    "line on": "show the line under each cell that called",
    "line off": "show no lines",
    "help": "these words",
}


def register(shell: InteractiveShell) -> None:
    """Give the shell the magic."""

    def ultimate(words: str) -> Any:
        """LLM calls through the Ultimate Proxy: what they cost, and whether they go there. `%ultimate help`."""
        return run(shell, words)

    shell.magics_manager.register_function(ultimate, magic_kind="line", magic_name=NAME)
    from IPython.core.completer import context_matcher  # noqa: PLC0415 - loaded in a kernel

    matcher = context_matcher(identifier=_MATCHER)(_matches)
    shell.Completer.custom_matchers.append(matcher)


def unregister(shell: InteractiveShell) -> None:
    """Take the magic away."""
    shell.magics_manager.magics["line"].pop(NAME, None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != _MATCHER]


def run(shell: InteractiveShell, words: str) -> Any:
    """Do what the words say; what is wrong with them is printed. Never raises."""
    from ultimate_lib.kernel.extension import loaded  # noqa: PLC0415 - which imports us

    extension = loaded(shell)
    if extension is None:
        print("The extension is not loaded: %load_ext ultimate_lib")  # noqa: T201 - a magic prints
        return None
    word = " ".join(words.split()).lower()
    action = _ACTIONS.get(word)
    if action is None:
        print(_unknown(word))  # noqa: T201
        return None
    try:
        return action(extension)
    except ProxyError as error:
        print(f"The proxy could not be asked: {error}", file=sys.stderr)  # noqa: T201
    except Exception as error:  # noqa: BLE001 - the outermost frame: a cell never fails because of us
        failed(f"%{NAME} {word}")
        print(f"%{NAME} {word} failed: {error}", file=sys.stderr)  # noqa: T201
    return None


def _status(extension: Extension) -> None:
    from ultimate_lib.kernel.status import text  # noqa: PLC0415 - when asked for

    print(text(extension))  # noqa: T201


def _cost(extension: Extension) -> Any:
    from ultimate_lib.kernel.costs import cost  # noqa: PLC0415 - loads a data frame library

    return cost(extension)


def _calls(extension: Extension) -> Any:
    from ultimate_lib.kernel.costs import calls  # noqa: PLC0415 - see above

    return calls(extension)


def _forecast(extension: Extension) -> Any:
    from ultimate_lib.kernel.outlook import forecast  # noqa: PLC0415 - see above

    return forecast(extension)


def _off(extension: Extension) -> None:
    was = extension.routed is not None
    extension.off()
    print("Clients and environment are as they were." if was else "It is off already.")  # noqa: T201


def _on(extension: Extension) -> None:
    extension.on()


def _line(on: bool) -> Callable[[Extension], None]:
    def switch(extension: Extension) -> None:
        extension.line_on = on
        print(f"The line under cells is {'on' if on else 'off'}.")  # noqa: T201

    return switch


def _help(_: Extension | None = None) -> None:
    print(help_text())  # noqa: T201


def help_text() -> str:
    """Return the words, each with what it does."""
    return "\n".join(f"%{NAME} {word}".ljust(22) + what for word, what in WORDS.items())


def _unknown(word: str) -> str:
    close = difflib.get_close_matches(word, [known for known in WORDS if known], n=1)
    meant = f" Did you mean `%{NAME} {close[0]}`?" if close else ""
    return f"There is no `%{NAME} {word}`.{meant}\n{help_text()}"


def _matches(context: CompletionContext) -> dict[str, Any]:
    """Return the words that may come next, and nothing of Python's then."""
    from IPython.core.completer import SimpleCompletion  # noqa: PLC0415 - loaded in a kernel

    line = context.text_until_cursor.rpartition("\n")[2]
    words = next_words(line)
    return {"completions": [SimpleCompletion(word, type="magic") for word in words], "suppress": bool(words)}


def next_words(line: str) -> list[str]:
    """Return the words that may stand where a line ends, none for a line of another kind."""
    name, *before = line.split() or [""]
    if name != f"%{NAME}" or (line.rstrip() == name and not line.endswith(" ")):
        return []
    begun = "" if line.endswith(" ") else before.pop()
    depth = len(before)
    found = [word.split() for word in WORDS if word]
    fitting = {parts[depth] for parts in found if parts[:depth] == before and len(parts) > depth}
    return sorted(word for word in fitting if word.startswith(begun))


_ACTIONS: dict[str, Callable[[Extension], Any]] = {
    "": _status,
    "status": _status,
    "cost": _cost,
    "calls": _calls,
    "forecast": _forecast,
    "off": _off,
    "on": _on,
    "line on": _line(on=True),
    "line off": _line(on=False),
    "help": _help,
}

"""Attributes of other people's classes, replaced for a time and put back; libraries that are imported later too."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from typing import TYPE_CHECKING, Any

from ultimate_lib.kernel.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

_ABSENT = object()


class Patches:
    """What was replaced. After `undo` every owner is as it was.

    Where somebody has wrapped our replacement meanwhile it cannot be taken out; each replacement therefore asks
    `active` first and, when it is false, only passes on to what it replaced.
    """

    def __init__(self) -> None:
        self.active = True
        self._made: list[tuple[Any, str, object, object]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Set the attribute to what `make` returns for the one there is, own or inherited."""
        before = vars(owner).get(name, _ABSENT)
        after = make(getattr(owner, name))
        setattr(owner, name, after)
        self._made.append((owner, name, before, after))

    def undo(self) -> None:
        """Put everything back, the last first."""
        self.active = False
        for owner, name, before, after in reversed(self._made):
            if vars(owner).get(name) is not after:
                continue
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._made.clear()


class Imports(importlib.abc.MetaPathFinder):
    """Calls a function with a module as soon as it has been imported, at once when it already is."""

    def __init__(self, wanted: Mapping[str, Callable[[ModuleType], object]]) -> None:
        self._wanted = dict(wanted)
        self._finding: set[str] = set()

    def install(self) -> None:
        """Begin."""
        sys.meta_path.insert(0, self)
        for name, function in self._wanted.items():
            module = sys.modules.get(name)
            spec = getattr(module, "__spec__", None)
            if module is not None and not getattr(spec, "_initializing", False):
                guarded(function)(module)

    def remove(self) -> None:
        """End."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a wanted module as the others would, with a loader that tells us."""
        if fullname not in self._wanted or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                spec = find(fullname, path, target) if find is not None and finder is not self else None
                if spec is not None:
                    if spec.loader is not None:
                        _tell(spec.loader, self._wanted[fullname])
                    return spec  # type: ignore[no-any-return] # what a finder finds
            return None
        finally:
            self._finding.discard(fullname)


def _tell(loader: Any, function: Callable[[ModuleType], object]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module  # the loader is as it was: once told is enough
        execute(module)
        guarded(function)(module)

    loader.exec_module = exec_module

"""Name → part, found in a folder of ours or in a stranger's entry point, by the same rule.

A part is any object; a folder's module offers it under an agreed attribute name. A third party offers the same
object under the entry point group `ultimate_proxy.<kind>`. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cached_property
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from ultimate_lib.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """All parts of one kind: the modules of `package` (their attribute `attribute`) and the entry points.

    An entry point may not take a name that a module already has: `Invalid` names both.
    """

    def __init__(self, kind: str, package: str, attribute: str) -> None:
        self.kind = kind
        self._package = package
        self._attribute = attribute

    @cached_property
    def _loaders(self) -> dict[str, Callable[[], Part]]:
        found: dict[str, Callable[[], Part]] = {}
        folder = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(folder.__path__):
            if not module.name.startswith("_"):
                found[module.name] = self._module_loader(module.name)
        for point in entry_points(group=f"ultimate_proxy.{self.kind}"):
            if point.name in found:
                msg = f"The {self.kind} '{point.name}' is offered twice, the second time by {point.value}."
                raise Invalid(msg, hint="Uninstall one of the two packages.")
            found[point.name] = point.load
        return found

    def _module_loader(self, name: str) -> Callable[[], Part]:
        def load() -> Part:
            part: Part = getattr(importlib.import_module(f"{self._package}.{name}"), self._attribute)
            return part

        return load

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._loaders)

    def get(self, name: str) -> Part:
        """Return the part called `name`; `NotFound` lists what there is."""
        loader = self._loaders.get(name)
        if loader is None:
            msg = f"There is no {self.kind} called '{name}'."
            raise NotFound(msg, hint=f"Known: {', '.join(self.names())}.")
        return loader()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

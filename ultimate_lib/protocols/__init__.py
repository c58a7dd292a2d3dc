"""Wire protocols: pure functions between bytes and meaning. No socket, no file, no clock.

protocol = for_path("/v1/messages")
facts = protocol.read_request(body)
watch = protocol.watch(facts, withhold_usage=False)
for chunk in upstream: client.write(watch.feed(chunk))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ultimate_lib.protocols import anthropic_messages, openai_chat
from ultimate_lib.protocols.facts import RequestFacts, ResponseFacts, StreamWatch

if TYPE_CHECKING:
    from ultimate_lib.protocols.facts import Protocol

__all__ = ["RequestFacts", "ResponseFacts", "StreamWatch", "by_name", "for_path"]

_ALL: dict[str, Protocol] = {module.name: cast("Protocol", module) for module in (anthropic_messages, openai_chat)}
_PATHS = {protocol.path: protocol for protocol in _ALL.values()}


def by_name(name: str) -> Protocol | None:
    """Return the protocol of that name."""
    return _ALL.get(name)


def for_path(path: str) -> Protocol | None:
    """Return the protocol whose calls arrive at `path` (without query)."""
    return _PATHS.get(path)


def names() -> list[str]:
    """Return the names of all protocols."""
    return list(_ALL)

"""The providers behind the proxy and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.client.transport import Transport
from claude_proxy.client.written import segment

if TYPE_CHECKING:
    from claude_proxy.answers import Answer


class Providers(Transport):
    """Routes below /api/providers. A provider's key can be written and never read."""

    def list_providers(self) -> list[Answer]:
        """Return the providers: name, protocol, base_url, whether there is a key and where it is from, models."""
        told: Any = self.get("/api/providers")
        providers: list[Answer] = told["providers"] if isinstance(told, dict) else told
        return providers

    def set_provider_key(self, name: str, key: str) -> Any:
        """Give a provider its key; it is in force at once."""
        return self.put(f"/api/providers/{segment(name)}/key", {"key": key})

    def delete_provider_key(self, name: str) -> Any:
        """Forget the key that was given for a provider."""
        return self.delete(f"/api/providers/{segment(name)}/key")

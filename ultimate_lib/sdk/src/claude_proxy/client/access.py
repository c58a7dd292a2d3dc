"""Who one is, what one may, and one's own keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.client.transport import Transport, segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_proxy.answers import Answer


class Access(Transport):
    """Routes below /api/auth and /api/keys, permissions and roles."""

    def verify(self) -> Answer:
        """Return who the key belongs to and what it may do."""
        answer: Answer = self.get("/api/auth/verify")
        return answer

    def logout(self) -> Answer:
        """End the session that carries the request. A key has none: `signed_out` is then False."""
        answer: Answer = self.post("/api/auth/logout")
        return answer

    def list_api_keys(self) -> list[Answer]:
        """Return one's own keys, newest first, without what would let one use them."""
        keys: list[Answer] = self.get("/api/keys")["keys"]
        return keys

    def create_api_key(
        self,
        name: str,
        scopes: Iterable[str] | None = None,
        *,
        models: Iterable[str] | None = None,
        project: str | None = None,
        expires_in_days: int | None = None,
        loopback_only: bool = False,
    ) -> Answer:
        """Make a key: `answer["key"]` is told this once, `answer["about"]` is what the list shows.

        `scopes` are permissions (default: proxy:call and analytics:view), `models` those it may call (default: all
        that its maker may).
        """
        told: dict[str, Any] = {
            "name": name,
            "scopes": list(scopes) if scopes is not None else None,
            "models": list(models) if models is not None else None,
            "project": project,
            "expires_in_days": expires_in_days,
            "loopback_only": loopback_only or None,
        }
        answer: Answer = self.create("/api/keys", {name: value for name, value in told.items() if value is not None})
        return answer

    def revoke_api_key(self, key_id: str) -> Answer:
        """End a key."""
        answer: Answer = self.delete(f"/api/keys/{segment(key_id)}")
        return answer

    def list_permissions(self) -> Answer:
        """Return all permissions, each with a sentence."""
        answer: Answer = self.get("/api/permissions")
        return answer

    def list_roles(self) -> Answer:
        """Return all roles and the permissions in them."""
        answer: Answer = self.get("/api/roles")
        return answer

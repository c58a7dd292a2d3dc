"""Who one is and what one may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_proxy.client.transport import Transport

if TYPE_CHECKING:
    from claude_proxy.answers import Answer


class Access(Transport):
    """Routes below /api/auth, permissions and roles."""

    def verify(self) -> Answer:
        """Return who the key belongs to and what it may do."""
        answer: Answer = self.get("/api/auth/verify")
        return answer

    def logout(self) -> Answer:
        """End the session that carries the request. A key has none: `signed_out` is then False."""
        answer: Answer = self.post("/api/auth/logout")
        return answer

    def list_permissions(self) -> Answer:
        """Return all permissions, each with a sentence."""
        answer: Answer = self.get("/api/permissions")
        return answer

    def list_roles(self) -> Answer:
        """Return all roles and the permissions in them."""
        answer: Answer = self.get("/api/roles")
        return answer

"""Keys of the proxy: made, seen, changed, rotated, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.client.transport import Transport
from claude_proxy.client.written import segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_proxy.answers import Answer
    from claude_proxy.client.written import Moment

_PAGE = 500


class Keys(Transport):
    """Routes below /api/keys. With a `version` a key is changed only while that is still its version."""

    def list_api_keys(
        self, *, user: str | None = None, team: str | None = None, state: str | None = None
    ) -> list[Answer]:
        """Return keys, newest first, without what would let one use them: one's own if nothing is said.

        `user` is an id or "all" (needs keys:manage), `team` a name (for its leads: the keys that name it), `state`
        "live" or "ended".
        """
        keys: list[Answer] = []
        cursor = None
        while True:
            page = self.get("/api/keys", user=user, team=team, state=state, cursor=cursor, limit=_PAGE)
            keys += page["keys"]
            cursor = page.get("next")
            if not cursor:
                return keys

    def create_api_key(
        self,
        name: str,
        scopes: Iterable[str] | None = None,
        *,
        user_id: str | None = None,
        models: Iterable[str] | None = None,
        team: str | None = None,
        project: str | None = None,
        cost_center: str | None = None,
        app: str | None = None,
        tags: Iterable[str] | None = None,
        locked: Iterable[str] | None = None,
        expires_in_days: int | None = None,
        loopback_only: bool = False,
        guard: str | None = None,
    ) -> Answer:
        """Make a key: `answer["key"]` is told this once, `answer["about"]` is what the list shows.

        `scopes` are permissions (default: proxy:call and analytics:view), `models` those it may call, `claude-*` for
        all that begin so (default: all that its maker may), `tags` are "name=value" of its calls, `locked` what of
        team, project, cost_center, app and tags its calls cannot change. Another user's key needs keys:manage,
        `guard` (observe, warn or block its unusual calls) settings:manage.
        """
        told: dict[str, Any] = {
            "name": name,
            "scopes": _listed(scopes),
            "user_id": user_id,
            "models": _listed(models),
            "team": team,
            "project": project,
            "cost_center": cost_center,
            "app": app,
            "tags": _listed(tags),
            "locked": _listed(locked),
            "expires_in_days": expires_in_days,
            "loopback_only": loopback_only or None,
            "guard": guard,
        }
        answer: Answer = self.create("/api/keys", {name: value for name, value in told.items() if value is not None})
        return answer

    def get_api_key(self, key_id: str) -> Answer:
        """Return one key, without what would let one use it."""
        answer: Answer = self.get(f"/api/keys/{segment(key_id)}")
        return answer

    def update_api_key(self, key_id: str, *, version: int | None = None, **changes: Any) -> Answer:
        """Change a key: name, models, expires_at, team, project, cost_center, app, tags, locked, guard.

        None takes what was there away.
        """
        answer: Answer = self.patch(f"/api/keys/{segment(key_id)}", changes, version=version)
        return answer

    def rotate_api_key(self, key_id: str, *, overlap_hours: int = 0, version: int | None = None) -> Answer:
        """Give a key another secret, told this once as `answer["key"]`; the former one works on for some hours."""
        told = {"overlap_hours": overlap_hours}
        answer: Answer = self.create(f"/api/keys/{segment(key_id)}/rotate", told, version=version)
        return answer

    def get_api_key_usage(self, key_id: str, start: Moment | None = None, end: Moment | None = None) -> Answer:
        """Return calls, tokens and cost of a key over a span (default: 30 days), and when it was last used."""
        told = {"start": str(start) if start else None, "end": str(end) if end else None}
        answer: Answer = self.get(f"/api/keys/{segment(key_id)}/usage", **told)
        return answer

    def revoke_api_key(self, key_id: str, *, version: int | None = None) -> Answer:
        """End a key, and those made with it."""
        answer: Answer = self.remove(f"/api/keys/{segment(key_id)}", version=version)
        return answer


def _listed(values: Iterable[str] | None) -> list[str] | None:
    return list(values) if values is not None else None

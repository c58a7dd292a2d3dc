"""Users, teams, sessions and the audit of the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.client.transport import Transport
from claude_proxy.client.written import segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from claude_proxy.answers import Answer

_PAGE = 500


class People(Transport):
    """Routes below /api/users, /api/teams, /api/sessions and /api/audit.

    With a `version` a user or a team is changed only while that is still its version.
    """

    # -- users ------------------------------------------------------------------------------------------------------

    def list_users(self) -> list[Answer]:
        """Return all users, by name."""
        return list(self._pages("/api/users", "users"))

    def get_user(self, user_id: str) -> Answer:
        """Return one user."""
        answer: Answer = self.get(f"/api/users/{segment(user_id)}")
        return answer

    def create_user(
        self,
        name: str,
        roles: Mapping[str, str | None],
        *,
        email: str | None = None,
        teams: Iterable[str] = (),
        password: str | None = None,
    ) -> Answer:
        """Make a user. `roles` are role → "own", "team", "all" or None for the default; `teams` are ids.

        Without a password the user needs a link: `create_user_link`.
        """
        told: dict[str, Any] = {"name": name, "roles": dict(roles), "teams": list(teams)}
        more = {"email": email, "password": password}
        told.update({field: value for field, value in more.items() if value is not None})
        answer: Answer = self.create("/api/users", told)
        return answer

    def update_user(self, user_id: str, *, email: str | None, version: int | None = None) -> Answer:
        """Change a user's e-mail address; None takes it away."""
        answer: Answer = self.patch(f"/api/users/{segment(user_id)}", {"email": email}, version=version)
        return answer

    def deactivate_user(self, user_id: str, *, version: int | None = None) -> Answer:
        """Shut a user out: sessions end, keys are refused within five seconds."""
        answer: Answer = self.post(f"/api/users/{segment(user_id)}/deactivate", version=version)
        return answer

    def reactivate_user(self, user_id: str, *, version: int | None = None) -> Answer:
        """Let a user in again."""
        answer: Answer = self.post(f"/api/users/{segment(user_id)}/reactivate", version=version)
        return answer

    def set_user_roles(self, user_id: str, roles: Mapping[str, str | None], *, version: int | None = None) -> Answer:
        """Grant a user these roles and no other; its sessions end."""
        answer: Answer = self.put(f"/api/users/{segment(user_id)}/roles", {"roles": dict(roles)}, version=version)
        return answer

    def set_user_password(
        self, user_id: str, password: str, *, current: str | None = None, version: int | None = None
    ) -> Answer:
        """Set a password of 12 to 128 characters; `current` is one's own old one, if one has one."""
        told = {"password": password} if current is None else {"password": password, "current": current}
        answer: Answer = self.put(f"/api/users/{segment(user_id)}/password", told, version=version)
        return answer

    def create_user_link(self, user_id: str) -> Answer:
        """Make a link under which a user sets a password, once, within a day: `answer["link"]`."""
        answer: Answer = self.create(f"/api/users/{segment(user_id)}/link")
        return answer

    # -- teams ------------------------------------------------------------------------------------------------------

    def list_teams(self) -> list[Answer]:
        """Return the teams that one may see, by name."""
        return list(self._pages("/api/teams", "teams"))

    def get_team(self, team_id: str) -> Answer:
        """Return one team; `members` is None for who does not manage it."""
        answer: Answer = self.get(f"/api/teams/{segment(team_id)}")
        return answer

    def create_team(self, name: str, *, title: str | None = None, cost_center: str | None = None) -> Answer:
        """Make a team. Calls are booked under its name, which never changes."""
        answer: Answer = self.create("/api/teams", {"name": name, "title": title, "cost_center": cost_center})
        return answer

    def update_team(self, team_id: str, *, version: int | None = None, **changes: str | None) -> Answer:
        """Change a team's `title` or `cost_center`; what is not given stays."""
        answer: Answer = self.patch(f"/api/teams/{segment(team_id)}", changes, version=version)
        return answer

    def archive_team(self, team_id: str, *, version: int | None = None) -> Answer:
        """Archive a team: no more is booked under it."""
        answer: Answer = self.remove(f"/api/teams/{segment(team_id)}", version=version)
        return answer

    def add_team_member(
        self, team_id: str, user_id: str, *, lead: bool | None = None, version: int | None = None
    ) -> Answer:
        """Add a member, or change whether it leads; return the team."""
        told = {} if lead is None else {"lead": lead}
        path = f"/api/teams/{segment(team_id)}/members/{segment(user_id)}"
        answer: Answer = self.put(path, told, version=version)
        return answer

    def remove_team_member(self, team_id: str, user_id: str, *, version: int | None = None) -> Answer:
        """Remove a member; return the team."""
        path = f"/api/teams/{segment(team_id)}/members/{segment(user_id)}"
        answer: Answer = self.remove(path, version=version)
        return answer

    # -- sessions ---------------------------------------------------------------------------------------------------

    def login(self, name: str, password: str) -> Answer:
        """Begin a browser's session with a name and a password; keys need none."""
        answer: Answer = self.post("/api/auth/login", {"name": name, "password": password})
        return answer

    def set_first_password(self, link: str, password: str) -> Answer:
        """Use a link for new people up (what stands behind `link=`): set a password."""
        answer: Answer = self.post("/api/auth/password", {"link": link, "password": password})
        return answer

    def list_sessions(self) -> list[Answer]:
        """Return one's own browsers that are signed in, newest first."""
        sessions: list[Answer] = self.get("/api/sessions")["sessions"]
        return sessions

    def end_session(self, session_id: str) -> Answer:
        """End one of one's own sessions."""
        answer: Answer = self.delete(f"/api/sessions/{segment(session_id)}")
        return answer

    def end_sessions(self) -> Answer:
        """End all of one's own sessions."""
        answer: Answer = self.delete("/api/sessions")
        return answer

    # -- audit ------------------------------------------------------------------------------------------------------

    def audit(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object_id: str | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> Iterator[Answer]:
        """Yield who did what, newest first; `start` and `end` are instants with their zone."""
        asked = {"actor": actor, "action": action, "object": object_id, "from": start, "to": end}
        return self._pages("/api/audit", "audit", **asked)

    def verify_audit(self) -> Answer:
        """Return whether the chain of the audit's rows holds: `answer["whole"]`."""
        answer: Answer = self.get("/api/audit/verify")
        return answer

    def _pages(self, path: str, name: str, **asked: Any) -> Iterator[Answer]:
        cursor = None
        while True:
            page = self.get(path, **asked, cursor=cursor, limit=_PAGE)
            yield from page[name]
            cursor = page.get("next")
            if not cursor:
                return

"""`users`, `teams`, `sessions`, `audit`: who may come in, and who did what."""

from __future__ import annotations

import getpass
import json
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import command, group, if_version
from claude_proxy.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_proxy.answers import Answer
    from claude_proxy.cli.session import Session

_USER = "user_6b37d10c8347"
_TEAM = "team_41d0a9be7725"
_NO_CHANGE = ("show", "link")


def _roles(roles: Any) -> str:
    return ", ".join(f"{role}:{scope}" for role, scope in roles.items())


def _teams(teams: Any) -> str:
    return ", ".join(f"{team['name']} (lead)" if team["lead"] else team["name"] for team in teams)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else UNKNOWN


_USERS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("email", "e-mail"),
    Column("active", "active", lambda active: "yes" if active else "no"),
    Column("roles", "roles", _roles),
    Column("teams", "teams", _teams),
    Column("last_sign_in_at", "signed in", shown.moment),
)
_TEAMS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("title", "title"),
    Column("cost_center", "cost center"),
    Column("archived_at", "archived", shown.moment),
)
_MEMBERS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("lead", "lead", lambda lead: "yes" if lead else "no"),
)
_SESSIONS = (
    Column("id", "id"),
    Column("created_at", "began", shown.moment),
    Column("last_seen_at", "last used", shown.moment),
    Column("address", "address"),
    Column("agent", "browser"),
)
_AUDIT = (
    Column("number", "number", right=True),
    Column("at", "at", shown.moment),
    Column("actor", "actor"),
    Column("action", "action"),
    Column("object", "object"),
    Column("address", "address"),
    Column("before", "before", _json),
    Column("after", "after", _json),
)


def add(commands: Any) -> None:
    """Add the commands."""
    _add_users(commands)
    _add_teams(commands)
    says = "One's own browsers that are signed in."
    below = group(command(commands, "sessions", _list_sessions, says=says, example="claude-proxy sessions"))
    parser = command(
        below, "end", _end_sessions, says="End one session, or all of one's own without an id.",
        example="claude-proxy sessions end session_6b37d10c8347",
    )  # fmt: skip
    parser.add_argument("id", metavar="ID", nargs="?")
    parser = command(
        commands, "audit", _audit, says="Who did what, newest first.",
        example="claude-proxy audit --action user.roles --limit 20",
    )  # fmt: skip
    for name in ("actor", "action", "object"):
        parser.add_argument(f"--{name}", metavar="TEXT")
    parser.add_argument("--start", metavar="INSTANT", help="e.g. 2026-11-01T00:00:00Z")
    parser.add_argument("--end", metavar="INSTANT", help="rows before this one")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="most rows (default: 50)")
    says = "Whether the chain of the audit's rows holds: exit status 1 when not."
    command(group(parser), "verify", _verify, says=says, example="claude-proxy audit verify")


def _add_users(commands: Any) -> None:
    says = "Users by name."
    below = group(command(commands, "users", _list_users, says=says, example="claude-proxy users"))
    command(below, "list", _list_users, says=says, example="claude-proxy users list --output csv")
    parser = command(
        below, "create", _create_user, says="Make a user and a link under which it sets a password.",
        example="claude-proxy users create ann --roles analyst,api_user --email ann@example.org",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--roles", metavar="ROLES", required=True, help="e.g. analyst:team,api_user")
    parser.add_argument("--email", metavar="ADDRESS")
    parser.add_argument("--teams", metavar="IDS", default="", help="ids of teams, between commas")
    _one(below, "show", _show_user, "One user.", _USER)
    parser = _one(below, "change", _change_user, "Change a user's e-mail address.", _USER, "--email ann@example.org")
    parser.add_argument("--email", metavar="ADDRESS", required=True, help="empty: none")
    parser = _one(below, "roles", _set_roles, "Grant a user these roles and no other.", _USER, "--roles viewer:team")
    parser.add_argument("--roles", metavar="ROLES", required=True, help="e.g. analyst:team,api_user")
    _one(below, "password", _set_password, "Set a password, asked for or read from standard input.", _USER)
    _one(below, "link", _link, "Make a link under which a user sets a password, alone on standard output.", _USER)
    _one(below, "deactivate", _deactivate, "Shut a user out.", _USER)
    _one(below, "reactivate", _reactivate, "Let a user in again.", _USER)


def _add_teams(commands: Any) -> None:
    says = "The teams that one may see."
    below = group(command(commands, "teams", _list_teams, says=says, example="claude-proxy teams"))
    command(below, "list", _list_teams, says=says, example="claude-proxy teams list --output csv")
    create = command(
        below, "create", _create_team, says="Make a team; calls are booked under its name.",
        example="claude-proxy teams create search --title Search",
    )  # fmt: skip
    create.add_argument("name", metavar="NAME")
    change = _one(below, "change", _change_team, "Change a team's title or cost center.", _TEAM, "--title Search")
    for parser in (create, change):
        parser.add_argument("--title", metavar="TEXT")
        parser.add_argument("--cost-center", metavar="TEXT")
    _one(below, "show", _show_team, "One team and its members.", _TEAM)
    _one(below, "archive", _archive_team, "Archive a team: no more is booked under it.", _TEAM)
    parser = _one(below, "add", _add_member, "Add a member, or make one a lead.", _TEAM, f"{_USER} --lead")
    parser.add_argument("user", metavar="USER")
    leads = parser.add_mutually_exclusive_group()
    leads.add_argument("--lead", dest="lead", action="store_true", default=None, help="it leads the team")
    leads.add_argument("--no-lead", dest="lead", action="store_false", default=None, help="it leads it no more")
    parser = _one(below, "remove", _remove_member, "Remove a member.", _TEAM, _USER)
    parser.add_argument("user", metavar="USER")


def _one(  # noqa: PLR0917 - what a line of the table says
    below: Any, name: str, run: Callable[[Session], int], says: str, example: str, more: str = ""
) -> Any:
    """Add a command about one thing, by its id."""
    kind = "users" if example == _USER else "teams"
    parser = command(below, name, run, says=says, example=f"claude-proxy {kind} {name} {example} {more}".rstrip())
    parser.add_argument("id", metavar="ID")
    if name not in _NO_CHANGE:
        if_version(parser)
    return parser


# -- users --------------------------------------------------------------------------------------------------------


def _list_users(session: Session) -> int:
    session.output.rows(_USERS, session.client.list_users(), empty="No users.")
    return 0


def _create_user(session: Session) -> int:
    asked, client = session.arguments, session.client
    teams = [team for team in asked.teams.split(",") if team]
    user = client.create_user(asked.name, _asked_roles(asked.roles), email=asked.email, teams=teams)
    link = client.create_user_link(user["id"])
    if session.output.form == "table":
        session.output.say(f"{user['name']} is {user['id']} and sets a password, within a day, at:")
        session.output.line(link["link"])
    else:
        session.output.pairs([("id", "", user["id"]), ("link", "", link["link"])], document={**user, **link})
    return 0


def _show_user(session: Session) -> int:
    return _told(session, _USERS, session.client.get_user(session.arguments.id))


def _change_user(session: Session) -> int:
    asked = session.arguments
    return _told(
        session, _USERS, session.client.update_user(asked.id, email=asked.email or None, version=asked.if_version)
    )


def _set_roles(session: Session) -> int:
    asked = session.arguments
    roles = _asked_roles(asked.roles)
    return _told(session, _USERS, session.client.set_user_roles(asked.id, roles, version=asked.if_version))


def _set_password(session: Session) -> int:
    asked, client = session.arguments, session.client
    own = client.verify()["user_id"] == asked.id and client.get_user(asked.id)["has_password"]
    current = _secret("Current password: ") if own else None
    client.set_user_password(asked.id, _secret("New password: "), current=current, version=asked.if_version)
    session.output.say("The password is set; all sessions of that user have ended.")
    return 0


def _link(session: Session) -> int:
    answer = session.client.create_user_link(session.arguments.id)
    if session.output.form == "json":
        session.output.json(answer)
    else:
        session.output.line(answer["link"])
    return 0


def _deactivate(session: Session) -> int:
    asked = session.arguments
    return _told(session, _USERS, session.client.deactivate_user(asked.id, version=asked.if_version))


def _reactivate(session: Session) -> int:
    asked = session.arguments
    return _told(session, _USERS, session.client.reactivate_user(asked.id, version=asked.if_version))


def _asked_roles(text: str) -> dict[str, str | None]:
    """Return role → scope of `analyst:team,api_user`."""
    pairs = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    return {role: scope or None for role, _, scope in pairs}


def _secret(prompt: str) -> str:
    """Ask a person without showing it, or take a line of standard input. Raises `BadRequest`."""
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not text:
        raise BadRequest("No password was given.", hint="Type it, or send it on standard input.", code="password")
    return text


# -- teams --------------------------------------------------------------------------------------------------------


def _list_teams(session: Session) -> int:
    session.output.rows(_TEAMS, session.client.list_teams(), empty="No teams.")
    return 0


def _create_team(session: Session) -> int:
    asked = session.arguments
    return _told(
        session, _TEAMS, session.client.create_team(asked.name, title=asked.title, cost_center=asked.cost_center)
    )


def _change_team(session: Session) -> int:
    asked = session.arguments
    given = {"title": asked.title, "cost_center": asked.cost_center}
    changes = {name: value or None for name, value in given.items() if value is not None}
    return _told(session, _TEAMS, session.client.update_team(asked.id, version=asked.if_version, **changes))


def _show_team(session: Session) -> int:
    return _with_members(session, session.client.get_team(session.arguments.id))


def _archive_team(session: Session) -> int:
    asked = session.arguments
    return _told(session, _TEAMS, session.client.archive_team(asked.id, version=asked.if_version))


def _add_member(session: Session) -> int:
    asked = session.arguments
    team = session.client.add_team_member(asked.id, asked.user, lead=asked.lead, version=asked.if_version)
    return _with_members(session, team)


def _remove_member(session: Session) -> int:
    asked = session.arguments
    return _with_members(session, session.client.remove_team_member(asked.id, asked.user, version=asked.if_version))


def _with_members(session: Session, team: Answer) -> int:
    _told(session, _TEAMS, team)
    if session.output.form == "table" and team["members"]:
        session.output.line()
        session.output.rows(_MEMBERS, team["members"])
    return 0


# -- sessions and audit -------------------------------------------------------------------------------------------


def _list_sessions(session: Session) -> int:
    session.output.rows(_SESSIONS, session.client.list_sessions(), empty="No browser is signed in.")
    return 0


def _end_sessions(session: Session) -> int:
    asked, client = session.arguments, session.client
    answer = client.end_session(asked.id) if asked.id else client.end_sessions()
    if session.output.form == "json":
        session.output.json(answer)
    else:
        session.output.say(f"{answer['ended']} ended.")
    return 0


def _audit(session: Session) -> int:
    asked = session.arguments
    rows = session.client.audit(
        actor=asked.actor, action=asked.action, object_id=asked.object, start=asked.start, end=asked.end
    )
    session.output.rows(_AUDIT, list(islice(rows, asked.limit)), empty="Nothing.")
    return 0


def _verify(session: Session) -> int:
    told = session.client.verify_audit()
    text = "the chain holds" if told["whole"] else f"row {told['broken_at']} does not follow from the one before"
    pairs = [
        ("audit", text, told["whole"]),
        ("rows", shown.whole(told["rows"]), told["rows"]),
        ("last", f"{told['last_number']}, {told['last_hash']}", told["last_hash"]),
    ]
    session.output.pairs(pairs, document=told)
    return 0 if told["whole"] else 1


def _told(session: Session, columns: tuple[Column, ...], row: Answer) -> int:
    session.output.rows(columns, [row], document=row)
    return 0

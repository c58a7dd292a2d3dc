"""The proxy itself: who asks, how it does, which version it is, and any route by its path."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_proxy.about import __version__
from claude_proxy.cli import shown
from claude_proxy.cli.output import UNKNOWN, Column
from claude_proxy.cli.parser import command
from claude_proxy.errors import BadRequest, ProxyError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_proxy.cli.session import Session


def _microseconds(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, timezone.utc).astimezone():%Y-%m-%d %H:%M:%S}"


_JOBS = (
    Column("name", "job"),
    Column("runs", "runs", shown.whole, right=True),
    Column("failures", "failures", shown.whole, right=True, colour=lambda number: "red" if number else ""),
    Column("succeeded_at_us", "went well", _microseconds),
    Column("duration_ms", "took", shown.milliseconds, right=True),
    Column("failure", "failure", colour=lambda _: "red"),
)
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def add(commands: Any) -> None:
    """Add the commands."""
    for name, run, says in (
        ("whoami", _whoami, "Whose key this is, and what it may do."),
        ("status", _status, "How the processes, the journal and the lake do."),
        ("health", _health, "Whether all parts work: exit status 1, with the reasons, when not."),
        ("version", _version, "The versions of this client and of the proxy."),
        ("roles", _roles, "All roles and the permissions in them."),
        ("permissions", _permissions, "All permissions, each with a sentence."),
        ("openapi", _openapi, "The proxy's interface as an OpenAPI 3.1 document."),
        ("metrics", _metrics, "The proxy's own metrics for Prometheus."),
    ):
        command(commands, name, run, says=says, example=f"claude-proxy {name}")
    parser = command(
        commands, "api", _api, says="Ask any route by its path, and show its JSON.",
        example="claude-proxy api GET /api/analytics/breakdown by=model limit=3",
    )  # fmt: skip
    parser.add_argument("method", choices=_METHODS, metavar="METHOD", help=", ".join(_METHODS))
    parser.add_argument("path", metavar="PATH", help="begins with /")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="parameters of the query")
    parser.add_argument("--body", metavar="FILE", help="JSON object to send; - is standard input")


def _whoami(session: Session) -> int:
    client = session.client
    who = client.verify()
    pairs = [
        ("user", who["user_name"], who["user_name"]),
        ("may", ", ".join(who["permissions"]) or "nothing", ",".join(who["permissions"])),
        ("sees calls of", _whose(who), who["view"]),
        ("key", who["key_id"] or UNKNOWN, who["key_id"]),
        ("team", who["team"] or UNKNOWN, who["team"]),
        ("project", who["project"] or UNKNOWN, who["project"]),
        ("expires", shown.moment(who["expires_at"]) if who["expires_at"] else "never", who["expires_at"] or ""),
        ("proxy", client.url, client.url),
        ("address from", client.source, client.source),
    ]
    session.output.pairs(pairs, document={**who, "csrf_token": None, "url": client.url, "source": client.source})
    return 0


def _whose(who: Any) -> str:
    return {"all": "everyone", "team": ", ".join(who["teams"]) or "itself"}.get(who["view"], "itself")


def _status(session: Session) -> int:
    told, output = session.client.status(), session.output
    gateways = told["gateways"]
    age = told["ingest_age_s"]
    pairs = [
        ("ready", "yes" if told["ready"] else "; ".join(told["reasons"]), told["ready"]),
        ("calls", shown.whole(told["calls"]), told["calls"]),
        ("gateways", f"{len(gateways)}, {sum(one['in_flight'] for one in gateways)} calls under way", len(gateways)),
        ("journal written", shown.whole(told["journal_written"]), told["journal_written"]),
        ("journal dropped", shown.whole(told["journal_dropped"]), told["journal_dropped"]),
        ("journal lag", f"{told['journal_lag_s']:.1f} s", told["journal_lag_s"]),
        ("last ingest", f"{age:.1f} s ago" if age is not None else UNKNOWN, age),
        ("lake version", _version_of(told["lake_version"]), told["lake_version"]),
    ]
    output.pairs(pairs, document=told)
    jobs = [{"name": name, **job} for name, job in told["jobs"].items()]
    if output.form == "table" and jobs:
        output.line()
        output.rows(_JOBS, jobs)
    return 0


def _version_of(number: int | None) -> str:
    if number is None:
        return UNKNOWN
    return str(number) if number >= 0 else "no commit yet"


def _health(session: Session) -> int:
    client = session.client
    client.health()
    told = client.ready()
    text = "all parts work" if told["ready"] else "; ".join(told["reasons"])
    session.output.pairs([("ready" if told["ready"] else "not ready", text, told["ready"])], document=told)
    return 0 if told["ready"] else 1


def _version(session: Session) -> int:
    told: Mapping[str, Any] | None = None
    proxy = ""
    try:
        told = session.client.version()
    except Unreachable as error:
        proxy = str(error)
    except ProxyError as error:
        if error.status is None:
            raise
        proxy = f"{session.client.url} does not tell its version"
    if told is not None:
        demo = ", demo data" if told.get("demo") else ""
        proxy = f"{told.get('version')} (interface {told.get('api')}{demo}) at {session.client.url}"
    number = told.get("version") if told is not None else None
    pairs = [("client", __version__, __version__), ("proxy", proxy, number)]
    session.output.pairs(pairs, document={"client": __version__, "proxy": told})
    return 0


def _roles(session: Session) -> int:
    roles = session.client.list_roles()
    rows = [{"role": role, "permissions": ", ".join(held)} for role, held in roles.items()]
    session.output.rows([Column("role", "role"), Column("permissions", "permissions")], rows, document=roles)
    return 0


def _permissions(session: Session) -> int:
    told = session.client.list_permissions()
    rows = [{"permission": name, "sentence": sentence} for name, sentence in told.items()]
    session.output.rows([Column("permission", "permission"), Column("sentence", "sentence")], rows, document=told)
    return 0


def _openapi(session: Session) -> int:
    session.output.json(session.client.openapi())
    return 0


def _metrics(session: Session) -> int:
    session.output.out.write(session.client.metrics())
    return 0


def _api(session: Session) -> int:
    asked, client = session.arguments, session.client
    if not asked.path.startswith("/"):
        raise BadRequest(f"'{asked.path}' is no path.", hint="It begins with /, as /api/roles does.", code="path")
    told: dict[str, list[str]] = {}
    for text in asked.parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"'{text}' is no NAME=VALUE.", code="parameter")
        told.setdefault(name, []).append(value)
    if asked.method in {"GET", "DELETE"}:
        if asked.body is not None:
            raise BadRequest(f"A {asked.method} takes no body.", hint="Leave --body out.", code="body")
        answer = client.get(asked.path, **told) if asked.method == "GET" else client.delete(asked.path, **told)
    else:
        if told:
            raise BadRequest(f"A {asked.method} takes its parameters in --body.", code="parameter")
        body = _body(asked.body)
        answer = {"POST": client.post, "PUT": client.put, "PATCH": client.patch}[asked.method](asked.path, body)
    session.output.json(answer)
    return 0


def _body(name: str | None) -> Any:
    """Return the JSON object in a file. Raises `BadRequest`."""
    if name is None:
        return {}
    try:
        text = sys.stdin.read() if name == "-" else Path(name).expanduser().read_text(encoding="utf-8")
        told = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadRequest(f"The body cannot be read ({error}).", hint="Give a file with one JSON object.") from error
    if not isinstance(told, dict):
        raise BadRequest("The body is no JSON object.", hint="Send {…}.", code="body")
    return told

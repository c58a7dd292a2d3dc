"""The live table: every row asks for a permission, and no spelling of a path gets past the check."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from proxy_server.control.answers import Nothing
from proxy_server.control.router import KNOWN, PUBLIC, Found, Route, Router
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.alone import Alone
from tests.control.openings import OPEN_TO_ALL, OPEN_TO_KNOWN
from ultimate_lib.access.roles import PERMISSIONS
from ultimate_lib.errors import NotFound

REMOTE = {"X-Forwarded-For": "203.0.113.9"}
ROWS = [(route, path) for route in TABLE for path in (route.path, *route.also)]
NAMES = [f"{route.method} {path}" for route, path in ROWS]
GUARDED = [(route, path) for route, path in ROWS if route.permission != PUBLIC]
WITH_PERMISSION = [(route, path) for route, path in GUARDED if route.permission != KNOWN]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("control")) as running:
        yield running


def concrete(path: str) -> str:
    return re.sub(r"\{\w+\}", "key_0123", path)


def test_each_row_names_a_permission_or_is_on_the_short_lists() -> None:
    assert OPEN_TO_ALL.keys() <= {route.path for route in TABLE if route.permission == PUBLIC}
    for route in TABLE:
        if route.permission == PUBLIC:
            assert route.path in OPEN_TO_ALL, route.path
        elif route.permission == KNOWN:
            assert route.path in OPEN_TO_KNOWN, route.path
        else:
            assert route.permission in PERMISSIONS, route.path
        assert route.sentence.endswith(".")
    assert len({(route.method, path) for route in TABLE for path in (route.path, *route.also)}) == len(ROWS)


@pytest.mark.parametrize(("route", "path"), GUARDED)
def test_nobody_gets_in_unknown(control: Alone, route: Route, path: str) -> None:
    reply = control.ask(route.method, concrete(path), headers=REMOTE)
    if route.page and route.method == "GET":
        assert (reply.status, reply.body) == (303, b"")
        assert reply.headers["Location"].startswith("/login")
        return
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    if not route.page:
        assert set(reply.json["error"]) == {"code", "message", "hint", "request_id"}
    wrong = control.ask(route.method, concrete(path), key="cp_" + "x" * 43, headers=REMOTE)
    assert wrong.status == 401


@pytest.mark.parametrize(("route", "path"), WITH_PERMISSION)
def test_a_known_caller_without_the_permission_is_denied(control: Alone, route: Route, path: str) -> None:
    name = re.sub(r"\W", "", f"{route.method}{path}")
    key = control.add_user(f"nobody{name}")  # a user without any role
    reply = control.ask(route.method, concrete(path), key=key, headers=REMOTE)
    assert reply.status == 403
    assert route.permission in (reply.text if route.page else reply.json["error"]["message"])


def spellings(path: str) -> list[str]:
    first, _, rest = (path[1:] or "login").partition("/")
    tail = f"/{rest}" if rest else ""
    return [
        f"/{path}",
        f"/.{path}",
        f"/x/..{path}",
        f"/x/%2e%2e{path}",
        f"{path}/",
        f"{path}//",
        f"{path};x=1",
        f"{path}%00",
        f"{path}%20",
        f"{path}/.",
        f"{path}%2f",
        f"/%{ord(first[0]):02x}{first[1:]}{tail}",
        path.upper(),
        path.replace("/", "%2f"),
        path.replace("/", "%2F", 2)[3:],
        path.replace("/", "\\"),
        f"/{first}//{rest}",
        f"/{first}/./{rest}",
        f"/{first}/%2e/{rest}",
        f"/{first};v=1{tail}",
        f"http://127.0.0.1{path}",
        f"//127.0.0.1{path}",
    ]


@pytest.mark.parametrize(("route", "path"), ROWS, ids=NAMES)
def test_lesson_L08_L09_no_spelling_of_a_path_reaches_a_function(control: Alone, route: Route, path: str) -> None:
    plain = concrete(path)
    for spelt in spellings(plain):
        if spelt in {plain, ""}:
            continue
        for key in (None, control.key):
            reply = control.ask(route.method, spelt, key=key, headers=REMOTE if key is None else {})
            assert reply.status in {400, 404}, (spelt, reply.status)


def test_the_spellings_bite_a_router_that_is_kind_to_paths() -> None:
    class Kind(Router):
        def find(self, path: str) -> Found:
            return super().find(posixpath.normpath(unquote(path).lower().partition(";")[0]))

    kind = Kind(TABLE)
    for _, path in ROWS:
        reached = 0
        for spelt in spellings(concrete(path)):
            with contextlib.suppress(NotFound):
                kind.find(spelt)
                reached += 1
        assert reached > 5, path


def test_a_function_is_reached_by_its_path_alone_and_only_after_the_check(tmp_path: object) -> None:
    """The mutant: a row whose permission nobody holds is closed even to the administrator."""
    asked: list[str] = []

    def count(*_: object) -> dict[str, int]:
        asked.append("yes")
        return {}

    table = (
        Route("GET", "/api/open", count, PUBLIC, "Open.", ""),
        Route("GET", "/api/closed", count, "", "Closed to all.", ""),
        Route("GET", "/api/typo", count, "analytics:veiw", "Closed by a typing error.", ""),
    )
    with alone.start(tmp_path, table=table) as control:  # type: ignore[arg-type]
        assert control.get("/api/closed").status == 403
        assert control.get("/api/typo").status == 403
        assert control.ask("GET", "/api/closed").status == 401
        assert asked == []
        assert control.get("/api/open", key=None).status == 200
        assert asked == ["yes"], "else this test would say nothing"


def test_methods_head_and_options(control: Alone) -> None:
    options = control.ask("OPTIONS", "/api/keys")
    assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    wrong = control.ask("PUT", "/api/keys", key=control.key, told={})
    assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert wrong.json["error"]["code"] == "method"
    head = control.ask("HEAD", "/api/roles", key=control.key)
    full = control.get("/api/roles")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == full.headers["Content-Length"]
    assert control.ask("HEAD", "/login?link=x").status == 405, "a HEAD must not use a link up"
    assert control.ask("TRACE", "/api/keys").status == 405
    assert "error" in control.ask("BREW", "/api/keys").json


def test_reads_have_an_etag(control: Alone) -> None:
    first = control.get("/api/roles")
    again = control.get("/api/roles", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert control.get("/api/roles", headers={"If-None-Match": '"other"'}).status == 200
    assert control.ask("GET", "/").headers["ETag"] is None, "a page has a fresh nonce each time"


@pytest.mark.parametrize("path", ["/", "/api/roles", "/api/nothing", "/nothing", "/login", "/readyz"])
def test_every_answer_carries_the_security_headers(control: Alone, path: str) -> None:
    reply = control.get(path)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["Cache-Control"] == "no-store"
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["Server"] is None
    assert re.fullmatch(r"[0-9a-f]{16}", reply.headers["X-Request-Id"])


def test_the_nonce_is_new_each_time_and_on_every_inline_block(control: Alone) -> None:
    pages = [control.ask("GET", "/") for _ in range(2)]
    nonces = [re.search(r"'nonce-([^']+)'", page.headers["Content-Security-Policy"])[1] for page in pages]  # type: ignore[index]
    assert nonces[0] != nonces[1]
    for page, nonce in zip(pages, nonces, strict=True):
        assert re.findall(r"<(style|script)\b([^>]*)>", page.text) == [
            ("style", f' nonce="{nonce}"'),
            ("script", f' nonce="{nonce}"'),
        ]
        assert not re.search(r"\son\w+=|\sstyle=|javascript:|(src|href)=\"https?:", page.text)


def test_what_is_not_there(control: Alone) -> None:
    missing = control.get("/api/nothing")
    assert (missing.status, missing.json["error"]["code"]) == (404, "not_found")
    assert missing.json["error"]["request_id"] == missing.headers["X-Request-Id"]
    assert "/api/openapi.json" in missing.json["error"]["hint"]
    page = control.ask("GET", "/<script>alert(1)</script>")
    assert page.status == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert "<script>alert" not in page.text
    assert ("begin at Home" in page.text, "Back to Home" in page.text, "openapi" in page.text) == (True, True, False)


def test_parameters_that_do_not_exist_name_those_that_do(control: Alone) -> None:
    reply = control.get("/api/analytics/aggregate?metric=requests")
    assert (reply.status, reply.json["error"]["code"]) == (400, "parameter_unknown")
    assert "'metrics'" in reply.json["error"]["hint"]
    assert "time_zone" in reply.json["error"]["hint"]
    assert control.get("/api/roles?x=1").json["error"]["hint"] == "This takes no parameters."
    twice = control.get("/api/analytics/calls?limit=1&limit=2")
    assert twice.json["error"]["code"] == "parameter_repeated"
    assert "limit" in control.get("/api/analytics/calls?limit=ten").json["error"]["message"]
    assert control.get("/api/analytics/calls?limit=0").status == 400
    assert control.get("/api/analytics/calls?filter=%ff").status == 400
    assert control.get("/api/analytics/breakdown").json["error"]["code"] == "parameter_missing"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "body"),
        ("[]", "body"),
        ('{"name":' + "[" * 100_000 + "]" * 100_000 + "}", "body"),
        ('{"nam": "x"}', "parameter_unknown"),
        ('{"name": 5}', "parameter_value"),
        ("{}", "parameter_missing"),
        ('{"name": "x", "id": "mine", "user_id": "other"}', "parameter_unknown"),
    ],
)
def test_bodies_that_are_wrong(control: Alone, body: str, code: str) -> None:
    reply = control.ask("POST", "/api/keys", key=control.key, body=body, headers={"Content-Type": "application/json"})
    assert (reply.status, reply.json["error"]["code"]) == (400, code)


def test_a_body_must_say_that_it_is_json_and_stay_small(control: Alone) -> None:
    told = '{"name": "x"}'
    plain = control.ask("POST", "/api/keys", key=control.key, body=told, headers={"Content-Type": "text/plain"})
    assert plain.json["error"]["code"] == "content_type"
    assert control.ask("POST", "/api/keys?name=x", key=control.key, told={"name": "x"}).status == 400
    large = control.ask("POST", "/api/keys", key=control.key, headers={"Content-Length": str(2 << 20)}, body=b"")
    assert large.status in {400, 413}


def test_a_failure_of_ours_tells_the_caller_nothing_but_where_to_look(
    tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret detail")

    table = (Route("GET", "/api/fail", fail, PUBLIC, "Fails.", "", takes=Nothing),)
    with alone.start(tmp_path, table=table) as control:  # type: ignore[arg-type]
        reply = control.ask("GET", "/api/fail")
        assert (reply.status, reply.json["error"]["code"]) == (500, "internal")
        assert "secret" not in reply.text
        assert reply.json["error"]["request_id"] in caplog.text
        assert "a secret detail" in caplog.text

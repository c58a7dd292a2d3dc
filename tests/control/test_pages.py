"""The first page: signed out, empty, with calls; whatever calls bring along stays text."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy_server.control.answers import Caller
from proxy_server.control.pages.home import Asked, home
from proxy_server.control.pages.shown import percent, rate, usd
from tests.control import alone, calls
from tests.control.alone import Alone
from tests.control.calls import call
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.settings import load

HOSTILE = [
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% import os %}",
    "javascript:alert(1)",
    "\u202e\u0000<b>&amp;",
    "<!--",
]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


class Tags(html.parser.HTMLParser):
    """Collects elements and attributes, and checks that what is opened is closed."""

    VOID = frozenset({"meta", "link", "input", "br", "rect", "path", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(control: Alone, path: str = "/") -> str:
    if not hasattr(control, "cookie"):
        control.cookie = control.sign_in()  # type: ignore[attr-defined] # kept for the next page
    reply = control.ask("GET", path, headers={"Cookie": control.cookie})  # type: ignore[attr-defined]
    assert reply.status == 200
    return reply.text


def text_of(page: str) -> str:
    shown = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown))


def test_signed_out_it_says_how_to_sign_in_and_shows_no_number(control: Alone) -> None:
    calls.write(control.bench.settings, call(datetime.now(UTC), project="secret-project"))
    reply = control.ask("GET", "/")
    assert "ultimate-proxy up" in reply.text
    assert 'href="/login"' in reply.text
    assert "secret-project" not in reply.text
    assert "Sign out" not in reply.text
    login = control.ask("GET", "/login").text
    assert "ultimate-proxy link" in login
    assert 'href="/"' in login


def test_empty_it_says_what_to_do_first(control: Alone) -> None:
    told = text_of(page(control))
    assert "No call has come through yet." in told
    assert f"http://{control.host}/v1" in told
    assert re.search(r"Spend \$0 ", told)


def test_it_shows_todays_sums_and_the_last_calls(control: Alone) -> None:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    calls.write(
        control.bench.settings,
        call(midnight, cost_nano_usd=1_234_000_000, model_served="claude-sonnet-4-5", project="search"),
        call(now, cost_nano_usd=None, model_served="nobody-knows"),
        call(midnight - timedelta(seconds=1), cost_nano_usd=9_000_000_000, model_served="of-yesterday"),
    )
    told = text_of(page(control))
    assert re.search(r"Requests 2 today", told)
    assert re.search(r"Tokens 240 ", told)
    assert re.search(r"Spend \$1\.23 without 1 unpriced call", told)
    assert told.index("nobody-knows") < told.index("claude-sonnet-4-5") < told.index("of-yesterday")
    assert "$9.00" in told
    run_once(control.bench.lake)
    assert text_of(page(control)) == told, "committed or not, the same"


def test_what_calls_bring_along_stays_text(control: Alone) -> None:
    now = datetime.now(UTC)
    names = ("model_served", "provider", "project", "status")
    calls.write(
        control.bench.settings,
        *(call(now, **{name: hostile}) for hostile in HOSTILE[:5] for name in names[:2]),
    )
    first = page(control)
    calls.write(
        control.bench.settings,
        *(call(now + timedelta(seconds=1), **{name: hostile}) for hostile in HOSTILE[3:] for name in names[2:]),
    )
    empty_tags = {tag for tag, _ in Tags(control.ask("GET", "/").text).seen}
    for shown in (first, page(control)):
        tags = Tags(shown)
        assert {tag for tag, _ in tags.seen} <= empty_tags | {
            "table", "caption", "thead", "tbody", "tr", "th", "td", "time", "dl", "dt", "dd", "div", "span", "form",
            "input", "strong", "label", "select", "option", "details", "summary", "ol", "li", "code", "button", "h2",
        }  # fmt: skip
        for _, attributes in tags.seen:
            assert not any(name.startswith("on") for name in attributes)
        assert sum(tag == "script" for tag, _ in tags.seen) == 1
    assert "{{ 7 * 7 }}" in first
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in first


def test_a_user_name_stays_text_too(control: Alone) -> None:
    key = control.add_user("x", "viewer")
    with control.bench.store.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET name = '<img src=x onerror=alert(1)>' WHERE id = 'user_x'")
    shown = control.get("/", key=key).text
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_a_caller_without_the_right_to_numbers_sees_none(control: Alone) -> None:
    calls.write(control.bench.settings, call(datetime.now(UTC), project="secret-project"))
    key = control.ask("POST", "/api/keys", key=control.key, told={"name": "x", "scopes": ["proxy:call"]}).json["key"]
    shown = control.get("/", key=key)
    assert shown.status == 200
    assert "secret-project" not in shown.text
    assert "do not include seeing numbers" in shown.text
    own = control.get("/", key=control.add_user("ann", "api_user"))
    assert "secret-project" not in own.text, "an API user sees its own calls alone"


def test_a_lake_that_cannot_be_read_leaves_the_rest_of_the_page(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        calls.write(control.bench.settings, call(datetime.now(UTC)))
        run_once(control.bench.lake)
        for log in (tmp_path / "lake/calls/_delta_log").glob("*.json"):
            log.write_bytes(log.read_bytes()[:-9])
        shown = page(control)
        assert "The numbers cannot be read now." in shown
        assert "Connect a client" in shown


def test_the_frame_is_accessible_as_far_as_a_parser_can_tell(control: Alone) -> None:
    calls.write(control.bench.settings, call(datetime.now(UTC)))
    shown = page(control)
    tags = Tags(shown)
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in tags.seen
    kinds = [tag for tag, _ in tags.seen]
    assert (kinds.count("h1"), kinds.count("main"), kinds.count("title")) == (1, 1, 1)
    for tag, attributes in tags.seen:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) is None or attributes[name] in ids
        if tag == "th":
            assert attributes["scope"] == "col"
    assert 'href="#main"' in shown
    assert "prefers-color-scheme: dark" in shown
    assert "http" not in re.sub(r"http://(127\.0\.0\.1:\d+|www\.w3\.org/2000/svg)", "", shown), (
        "nothing from elsewhere"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0, "$0"),
        (1234.5, "$1,234.50"),
        (1, "$1.00"),
        (0.5, "$0.50"),
        (0.0014, "$0.0014"),
        (0.054399, "$0.0544"),
        (0.000027, "$0.000027"),
        (1e-9, "$0.000000001"),
    ],
)
def test_dollars(value: float | None, shown: str) -> None:
    assert usd(value) == shown


def test_what_rounds_up_to_a_dollar_has_its_cents() -> None:
    assert usd(0.99954) == "$1.00"


def test_prices_have_cents_and_are_never_cut() -> None:
    assert [rate(one) for one in (None, 3, 4.5, 0.0375, 18.75, 1234.5)] == [
        "—", "$3.00", "$4.50", "$0.0375", "$18.75", "$1,234.50",
    ]  # fmt: skip


def test_a_little_is_not_nothing_and_nearly_all_is_not_all() -> None:
    told = [percent(one) for one in (None, 0, 0.0001, 0.01, 0.126, 0.99, 0.9999, 1, 1.5)]
    assert told == ["—", "0%", "under 1%", "1%", "13%", "99%", "over 99%", "100%", "150%"]


def test_home_says_where_a_key_is_made_and_where_the_first_one_stands(tmp_path: Path) -> None:
    with alone.start(tmp_path / "with") as control:
        there = control.get("/").text
        assert f"on this computer the one in <code>{tmp_path / 'with' / 'local.json'}</code> works" in there
        assert '<a href="/admin/keys">make one</a>' in there
        assert "the one in <code>local.json</code> works" in control.ask("GET", "/").text, (
            "signed out: not its folder"
        )
        others = control.get("/", key=control.add_user("uli", "viewer", "api_user")).text
        assert ("make one</a>" in others, "local.json" in others) == (True, False), "it is its owner's"
        viewer = control.get("/", key=control.add_user("viola", "viewer")).text
        assert ("make one</a>" in viewer, "an administrator can add <code>api_user</code>" in viewer) == (False, True)
        settings = load(environ={}, overrides={"data.folder": str(tmp_path), "server.local_key": False})
        told = home(replace(control.bench, settings=settings), Caller(loopback=True), Asked())
        assert told.values["local"] is False, "none is written"


def test_a_demo_says_that_its_budgets_do_not_count_the_past(tmp_path: Path) -> None:
    for demo in (True, False):
        with alone.start(tmp_path / str(demo), **{"data.demo": demo}) as control:
            told = {"subject": "global", "amount": 10**9, "period": "month"}
            control.ask("POST", "/api/budgets", key=control.key, told=told)
            for path in ("/", "/admin/budgets"):
                assert ("not the made-up ones of the past" in control.get(path).text) is demo, path

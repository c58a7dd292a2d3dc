"""The list of calls, one call, the reference: filters, pages, what is wrong said in place; nothing becomes markup."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy_server.control import pages
from proxy_server.control.pages import call as call_page
from proxy_server.control.pages.chart import Bar, draw
from proxy_server.control.routes import TABLE
from tests.control import alone, calls
from tests.control.alone import Alone
from tests.control.calls import call
from tests.control.test_pages import HOSTILE, Tags, page, text_of
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.records import COLUMNS


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def fill(control: Alone, number: int, **told: Any) -> list[str]:
    now = datetime.now(UTC)
    records = [call(now - timedelta(seconds=one), **told) for one in range(number)]
    calls.write(control.bench.settings, *records)
    return [record.call_id for record in records]


def rows_of(text: str) -> list[str]:
    return re.findall(r'data-call="([^"]+)"', text)


def link(text: str, rel: str) -> str:
    found = re.search(rf'href="([^"]+)" rel="{rel}"', text)
    assert found is not None, rel
    return html.unescape(found[1])


def test_older_and_newer_lead_through_all_calls_and_back(control: Alone) -> None:
    ids = fill(control, 120)
    run_once(control.bench.lake)
    first = page(control, "/calls?provider=demo")
    second = page(control, link(first, "next"))
    third = page(control, link(second, "next"))
    assert [rows_of(one) for one in (first, second, third)] == [ids[:50], ids[50:100], ids[100:]]
    assert 'rel="next"' not in third
    assert 'rel="prev"' not in first
    back = page(control, link(third, "prev"))
    assert rows_of(back) == ids[50:100]
    assert rows_of(page(control, link(back, "prev"))) == ids[:50]
    assert "provider=demo" in link(back, "prev"), "filters stay"


def test_filters_and_ids(control: Alone) -> None:
    now = datetime.now(UTC)
    records = [
        call(now, project="search", notebook="work/a b.ipynb", session_id="sess-1"),
        call(now - timedelta(seconds=1), project="support", status="error", user_id="user_x"),
        call(now - timedelta(seconds=2), model_routed="claude-haiku-4-5", upstream_id="msg_0042"),
        call(now - timedelta(hours=30), project="search"),
    ]
    calls.write(control.bench.settings, *records)
    ids = [record.call_id for record in records]
    for query, expected in {
        "": [0, 1, 2],
        "?span=7d&project=search": [0, 3],
        "?project=search": [0],
        "?status=error": [1],
        "?user=user_x": [1],
        "?model=claude-haiku-4-5": [2],
        "?notebook=work/a%20b.ipynb": [0],
        "?session=sess-1": [0],
        "?q=msg_00": [2],
        f"?q={ids[1]}": [1],
        "?project=search&status=error": [],
        f"?start={now - timedelta(days=2):%Y-%m-%d}": [0, 1, 2, 3],
    }.items():
        assert rows_of(page(control, f"/calls{query}")) == [ids[one] for one in expected], query
    told = text_of(page(control, "/calls?project=nothing"))
    assert "No call matches." in told


def test_people_and_keys_have_names(control: Alone) -> None:
    ann, ben = (control.add_user(name, "analyst", "api_user") for name in ("ann", "ben"))
    key = control.get("/api/keys?limit=1", key=ann).json["keys"][0]["id"]
    now = datetime.now(UTC)
    of_ann, of_ben = call(now, user_id="user_ann", key_id=key), call(now, user_id="user_ben")
    calls.write(control.bench.settings, of_ann, of_ben)
    for told in ("ann", " ann ", "user_ann"):
        text = page(control, f"/calls?user={quote(told)}")
        assert rows_of(text) == [of_ann.call_id], told
    assert re.search(r'<datalist id="user-names">.*<option value="ann">', text)
    told = text_of(page(control, f"/calls/{of_ann.call_id}"))
    assert f"Key test ({key})" in told
    assert "User ann (user_ann)" in told
    with control.bench.store.begin() as connection:
        connection.exec_driver_sql("UPDATE role_grants SET scope = 'all' WHERE user_id = 'user_ben'")
    other = control.get(f"/calls/{of_ann.call_id}", key=ben).text
    assert key in other
    assert f"test ({key})" not in other, "a key's name is its owner's"
    assert "ann (user_ann)" not in other, "nor is a list of people everybody's"
    assert "user-names" not in re.findall(r'<datalist id="([^"]+)"', control.get("/calls", key=ben).text)


def test_lists_tell_who_called_by_the_names_that_their_reader_may_know(control: Alone) -> None:
    keys = {name: control.add_user(name, "viewer", "api_user") for name in ("ann", "ben", "eve")}
    seen = [call(datetime.now(UTC), user_id=one, team="red") for one in ("user_ann", "user_ben", "user_gone", None)]
    calls.write(control.bench.settings, *seen)
    team = control.ask("POST", "/api/teams", key=control.key, told={"name": "red"}).json["id"]
    for name, lead in (("ann", True), ("ben", False), ("eve", False)):
        member = f"/api/teams/{team}/members/user_{name}"
        assert control.ask("PUT", member, key=control.key, told={"lead": lead}).status == 200

    def who(path: str, key: str) -> list[str]:
        text = control.get(path, key=key).text
        cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr data-call.*?</tr>", text)]
        return [one[1] for one in cells] if '<th scope="col" class="roomy">Who</th>' in text else []

    for path in ("/calls", "/"):
        assert sorted(who(path, control.key)) == sorted(["ann", "ben", "user_gone", "—"])
        assert {"ann", "ben"} <= set(who(path, keys["ann"])), "who leads knows its members"
        assert {"user_ann", "ben"} <= set(who(path, keys["ben"])), "who is led knows itself"
    with control.bench.store.begin() as connection:
        connection.exec_driver_sql("UPDATE role_grants SET scope = 'own' WHERE user_id = 'user_eve'")
    assert who("/calls", keys["eve"]) == [], "all are one's own"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?span=forever", "no time span"),
        ("?start=yesterday", "no day and no instant"),
        ("?start=2026-03-02&end=2026-03-01", "is empty"),
        ("?cursor=nonsense", "cursor is not one of ours"),
    ],
)
def test_a_bad_filter_is_said_on_the_page_and_the_form_is_kept(control: Alone, query: str, words: str) -> None:
    cookie = control.sign_in()
    reply = control.ask("GET", f"/calls{query}&project=search", headers={"Cookie": cookie})
    assert reply.status == 400
    assert words in text_of(reply.text)
    assert 'name="project" list="project-names" value="search"' in reply.text
    assert control.ask("GET", "/calls?colour=red", headers={"Cookie": cookie}).status == 400


def test_no_call_and_no_answer_are_told_apart(control: Alone, tmp_path: Path) -> None:
    empty = text_of(page(control, "/calls"))
    assert "No call in this time." in empty
    fill(control, 3)
    run_once(control.bench.lake)
    for log in (tmp_path / "lake/calls/_delta_log").glob("*.json"):
        log.write_bytes(log.read_bytes()[:-9])
    reply = control.ask("GET", "/calls", headers={"Cookie": control.cookie})  # type: ignore[attr-defined] # of `page`
    assert reply.status == 500
    told = text_of(reply.text)
    assert "The calls cannot be read now." in told
    assert "No call" not in told


def test_own_calls_alone(control: Alone) -> None:
    now = datetime.now(UTC)
    of_ann, of_ben = call(now, user_id="user_ann", project="ann-project"), call(now, user_id="user_ben")
    calls.write(control.bench.settings, of_ann, of_ben)
    key = control.add_user("ben", "api_user")
    shown = control.get("/calls", key=key)
    assert rows_of(shown.text) == [of_ben.call_id]
    assert "ann-project" not in shown.text, "nor is a name suggested"
    assert 'name="user"' not in shown.text
    assert control.get("/calls?user=user_ann", key=key).status == 403
    assert control.get(f"/calls/{of_ann.call_id}", key=key).status == 404
    assert control.get(f"/calls/{of_ben.call_id}", key=key).status == 200


def test_one_call_shows_every_column_and_sums(control: Alone) -> None:
    record = call(
        datetime.now(UTC), provider="openai", model_served="gpt-4o-mini", input_tokens=1000, output_tokens=20,
        cost_nano_usd=162_000, input_cost_nano_usd=150_000, output_cost_nano_usd=12_000, cost_source="table",
        cache_read_cost_nano_usd=0, cache_write_cost_nano_usd=0, other_cost_nano_usd=0, session_id="s/1",
        price_id="openai/gpt-4o-mini@listed", notebook="a&b.ipynb", cell_id="c1", usage_source="provider",
    )  # fmt: skip
    calls.write(control.bench.settings, record)
    shown = page(control, f"/calls/{record.call_id}")
    told = text_of(shown)
    assert re.search(r"input 1,000 tokens \$0\.15 \$0\.000150000", told)
    assert re.search(r"Total \$0\.000162000", told)
    for column in COLUMNS:
        assert f'title="{column.name}"' in shown
    assert "session=s%2F1" in shown
    links = [html.unescape(one) for one in re.findall(r'href="(/calls\?[^"]+)"', shown)]
    for one in links:
        assert record.call_id in rows_of(page(control, one)), one
    assert len(links) == 3
    Tags(shown)


def test_the_groups_are_the_record(control: Alone) -> None:
    names = [name for _, fields in call_page.GROUPS for name in fields]
    assert names == [column.name for column in COLUMNS]


def test_the_command_can_be_pasted_whatever_the_names_are() -> None:
    row: dict[str, Any] = dict.fromkeys((column.name for column in COLUMNS), None)
    for hostile in ("'; rm -rf / #", "$(reboot)", "a b\n`x`", *HOSTILE):
        row |= {"model_requested": hostile, "endpoint": f"/v1/{hostile}", "protocol_in": "anthropic-messages"}
        command = call_page.curl(row, "http://127.0.0.1:8082").replace("\0", "")
        shell = "curl() { printf '%s\\0' \"$@\"; }\n" + command
        told = subprocess.run(["sh", "-c", shell], capture_output=True, check=True, env={"CLAUDE_PROXY_API_KEY": "k"})
        words = told.stdout.decode().split("\0")[:-1]
        assert words[0] == f"http://127.0.0.1:8082/v1/{hostile}".replace("\0", "")
        assert [words[at] for at in range(1, len(words), 2)] == ["-H", "-H", "-H", "-d"]
        assert words[2] == "x-api-key: k"
        assert json.loads(words[-1])["model"] == hostile
    assert "cp_" not in call_page.curl(row, "http://127.0.0.1:8082")


def test_what_calls_bring_along_stays_text_on_both_pages(control: Alone) -> None:
    now = datetime.now(UTC)
    names = (
        "model_served",
        "model_routed",
        "provider",
        "project",
        "notebook",
        "session_id",
        "status",
        "endpoint",
        "error_type",
    )
    records = [call(now - timedelta(seconds=n), **dict.fromkeys(names, text)) for n, text in enumerate(HOSTILE)]
    calls.write(control.bench.settings, *records)
    for path in ("/calls", *(f"/calls/{record.call_id}" for record in records)):
        shown = page(control, path)
        for tag, attributes in Tags(shown).seen:
            assert tag not in {"img", "b"}, path
            assert tag != "svg" or "viewbox" in attributes
            assert not any(name.startswith("on") for name in attributes)
            assert not (attributes.get("href") or "").startswith("javascript:")
        assert shown.count("<script") == 1
    for text in HOSTILE:
        shown = control.ask(
            "GET", f"/calls?project={re.sub('.', lambda c: f'%{ord(c[0]):02x}' if ord(c[0]) < 128 else 'x', text)}",
            headers={"Cookie": control.cookie},  # type: ignore[attr-defined] # of `page`
        ).text  # fmt: skip
        assert not any(name.startswith("on") for _, attributes in Tags(shown).seen for name in attributes)


def test_the_reference_has_every_route_and_leads_to_each(control: Alone) -> None:
    reply = control.ask("GET", "/docs")
    assert reply.status == 200
    told = text_of(reply.text)
    tags = Tags(reply.text)
    ids = {attributes["id"] for _, attributes in tags.seen if "id" in attributes}
    for _, attributes in tags.seen:
        target = attributes.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids
    for route in TABLE:
        if route.page:
            continue
        assert f"{route.method} {route.path}" in told, route.path
        assert html.unescape(told).count(route.sentence) >= 1
    assert "usd_per_million" in told, "answers are shown in their shape"
    assert 'href="/api/openapi.json"' in reply.text


def test_the_bar_is_on_every_page_and_says_where_and_who(control: Alone) -> None:
    [call_id] = fill(control, 1)
    for path, label in {
        "/": "Home",
        "/calls": "Calls",
        f"/calls/{call_id}": "Calls",
        "/docs": "API",
        "/nothing": "",
    }.items():
        cookie = getattr(control, "cookie", None) or control.sign_in()
        control.cookie = cookie  # type: ignore[attr-defined] # kept for the next page
        shown = control.ask("GET", path, headers={"Cookie": cookie, "Accept": "text/html"}).text
        assert [place in shown for _, place, _ in pages.PLACES] == [True] * len(pages.PLACES), path
        current = re.findall(r'aria-current="page">([^<]+)<', shown)
        assert current == ([label] if label else []), path
        assert "Signed in as" in shown, path
        assert "demo data" not in shown


def test_demo_data_is_said_on_every_page(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"data.demo": True}) as control:
        [call_id] = fill(control, 1)
        for path in ("/login", "/nothing", "/", "/calls", f"/calls/{call_id}", "/docs"):
            shown = control.get(path, key=control.key if path != "/login" else None).text
            assert ">demo data<" in shown, path
        assert "made up" in text_of(control.get("/").text)
        assert control.ask("GET", "/api/version").json["demo"] is True


def test_signed_out_the_list_leads_to_the_sign_in(control: Alone) -> None:
    reply = control.ask("GET", "/calls")
    assert (reply.status, reply.headers["Location"]) == (303, "/login?to=calls")
    reply = control.ask("GET", "/calls/0197f3b8-2d6a-7000-8000-000000000000")
    assert (reply.status, reply.headers["Location"]) == (303, "/login")


def test_provider_keys_are_offered_to_who_may_enter_them(control: Alone) -> None:
    shown = page(control, "/")
    assert '<option value="anthropic">' in shown
    assert "What to do next" in text_of(shown)
    viewer = control.get("/", key=control.add_user("vic", "viewer")).text
    assert "Provider keys" not in text_of(viewer)
    fill(control, 1)
    assert "What to do next" not in text_of(page(control, "/"))


def test_the_chart_says_what_it_shows() -> None:
    bars = [
        Bar("08:00", "08:00", 2.0, 3, 0),
        Bar("09:00", "", None, 2, 2),
        Bar("10:00", "", 0.0, 0, 0),
        Bar("11:00", "", 0.5, 1, 0),
    ]
    told = draw(bars, "the last 4 hours")
    assert told.summary == (
        "$2.50 in the last 4 hours, from 6 calls. The most, $2.00, at 08:00. "
        "The cost of 2 calls is not known and not in it."
    )
    assert [one.height for one in told.bars] == [120, 15, 0, 30]
    assert [one.unknown for one in told.bars] == [False, True, False, False]
    assert [one.value for one in told.bars] == ["$2.00", "—", "$0", "$0.50"]
    assert draw([], "the last 4 hours").summary == "No calls in the last 4 hours."
    tiny = draw([Bar("a", "", 1000.0, 1, 0), Bar("b", "", 0.0001, 1, 0)], "x").bars[1]
    assert tiny.height == 2.0

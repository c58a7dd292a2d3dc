"""Recommendations over REST and on their page: whose calls, keys and budgets they tell of."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest

from proxy_server.control.api import recommendations
from tests.calm import DAY, Calm
from tests.control import alone, calls
from tests.control.calls import call
from ultimate_lib.access.keys import create_key
from ultimate_lib.access.principal import Principal
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.store import keys as key_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.control.alone import Alone
    from ultimate_lib.records import CallRecord

AT = Calm(DAY)
PRICE = "openai/gpt-4o-mini@listed"


def of(user: str, key: str, hash_: int) -> list[CallRecord]:
    """Return twenty days of a user's calls, and one request of it sent fifty times."""
    plain: dict[str, Any] = {"user_id": user, "key_id": key, "price_id": PRICE, "cost_nano_usd": 5_000_000}
    made = [
        call(AT.now - timedelta(days=day, minutes=7 * number + 1), request_hash=hash_ + 100 * day + number, **plain)
        for day in range(1, 21)
        for number in range(4)
    ]
    made += [
        call(AT.now - timedelta(days=3, minutes=number + 1), request_hash=hash_, **plain) for number in range(50)
    ]
    return made


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("advice")) as running:
        calls.write(running.bench.settings, *of("user_ann", "key_ann", 10_000), *of("user_bob", "key_bob", 50_000))
        run_once(running.bench.lake)
        yield running


def told(control: Alone, query: str = "", **more: Any) -> dict[str, Any]:
    reply = control.get(f"/api/predictive/recommendations?{query}", **more)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def test_each_recommendation_leads_to_exactly_its_calls(control: Alone) -> None:
    answer = told(control, "kinds=duplicate_calls")
    assert [one["who"]["key"] for one in answer["recommendations"]] == ["key_ann", "key_bob"]
    for one in answer["recommendations"]:
        assert one["saved_in_span_usd"] == pytest.approx(49 * 0.005)
        query = urlencode(
            {"filter": one["calls"]["filters"], "start": one["since"], "end": one["until"], "limit": 1000},
            doseq=True,
        )
        rows = control.get(f"/api/analytics/calls?{query}").json["rows"]
        assert len(rows) == one["calls"]["count"] == 50
        assert {row["key_id"] for row in rows} == {one["who"]["key"]}
        assert set(one["calls"]["sample_ids"]) <= {row["call_id"] for row in rows}
    assert answer["calls"] == 260
    assert [kind["kind"] for kind in answer["kinds"]] == ["duplicate_calls"]


def test_a_filter_narrows_the_calls_and_leaves_keys_and_budgets_out_that_it_says_nothing_of(control: Alone) -> None:
    answer = told(control, "filter=key:key_ann&filter=provider:demo")
    assert {one["who"].get("key") for one in answer["recommendations"]} == {"key_ann"}
    assert all("provider:demo" in one["calls"]["filters"] for one in answer["recommendations"])
    states = {kind["kind"]: kind for kind in answer["kinds"]}
    assert states["idle_keys"]["state"] == "not_asked"
    assert "provider" in states["idle_keys"]["reason"]
    assert told(control, "filter=project:nothing")["too_few"] == "There are 0 calls; 50 are needed."


def test_who_sees_its_own_calls_alone_is_told_of_its_own_calls_keys_and_budgets_alone(control: Alone) -> None:
    bench = control.bench
    key = control.add_user("ann", "api_user")
    maker = Principal(user_id="user_ann", user_name="ann", permissions=frozenset({"proxy:call", "analytics:view"}))
    old = create_key(bench.store, bench.clock, maker, name="old notebook")[1]
    bob = control.add_user("bob", "api_user")
    with bench.store.begin() as connection:
        for row in key_rows.listed(connection):
            key_rows.change(connection, row["id"], row["version"], {"created_at": AT.now - timedelta(days=90)})
    for subject, name in (("user", "user_ann"), ("user", "user_bob"), ("global", None)):
        wanted = {
            "subject": subject,
            "subject_id": name,
            "amount": 900_000_000_000,
            "period": "day",
            "name": f"of {name}",
        }
        assert control.ask("POST", "/api/budgets", key=control.key, told=wanted).status == 201
    own = told(control, key=key)
    whose = {one["kind"]: one["who"] for one in own["recommendations"]}
    assert whose["duplicate_calls"]["key"] == "key_ann"
    assert "key_bob" not in str(own)
    budgets = [one["title"] for one in own["recommendations"] if one["kind"] == "misfit_budgets"]
    assert [("of user_ann" in title) for title in budgets] == [True]
    idle = [one["who"]["key"] for one in own["recommendations"] if one["kind"] == "idle_keys"]
    assert old["id"] in idle
    everyone = told(control)
    assert len([one for one in everyone["recommendations"] if one["kind"] == "misfit_budgets"]) == 3
    assert {one["who"]["user"] for one in everyone["recommendations"] if one["kind"] == "idle_keys"} >= {"ann", "bob"}
    assert {one["who"]["user"] for one in own["recommendations"] if one["kind"] == "idle_keys"} == {"ann"}
    assert control.get("/api/predictive/recommendations?filter=user:user_bob", key=key).status == 403
    assert "key_ann" not in str(told(control, key=bob))


def test_what_was_found_is_kept_while_nothing_changes(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    whole = recommendations.advise
    monkeypatch.setattr(recommendations, "advise", lambda *told: made.append(1) or whole(*told))
    first = told(control, "days=25&kinds=duplicate_calls")
    assert told(control, "days=25&kinds=duplicate_calls") == first
    assert len(made) == 1
    told(control, "days=26&kinds=duplicate_calls")
    assert len(made) == 2


def test_who_asks_the_same_meanwhile_gets_the_same_answer(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    whole = recommendations.advise

    def slow(*told: Any) -> Any:
        made.append(1)
        time.sleep(0.3)
        return whole(*told)

    monkeypatch.setattr(recommendations, "advise", slow)
    with ThreadPoolExecutor(3) as askers:
        answers = list(askers.map(lambda _: told(control, "days=24&kinds=duplicate_calls"), range(3)))
    assert answers[0] == answers[1] == answers[2]
    assert len(made) == 1


def test_many_calls_are_looked_at_in_a_process_of_their_own(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommendations, "APART_CALLS", 1)
    monkeypatch.setattr(recommendations, "advise", None)  # not here
    answer = told(control, "days=27&kinds=duplicate_calls")
    assert len(answer["recommendations"]) == 2


def test_what_cannot_be_asked_is_refused(control: Alone) -> None:
    for query in ("kinds=magic", "days=0", "days=400", "limit=0", "filter=colour:red"):
        assert control.get(f"/api/predictive/recommendations?{query}").status == 400, query


# -- the page ------------------------------------------------------------------------------------------------------


def page(control: Alone, query: str = "", **more: Any) -> str:
    reply = control.get(f"/recommendations?{query}", **more)
    assert reply.status == 200, reply.text
    return unescape(reply.text)


def test_cards_lead_to_a_list_of_as_many_calls(control: Alone) -> None:
    text = page(control, "kind=duplicate_calls")
    assert "All of it" in text
    assert "49 of these 50 calls" in text
    (link, *_) = re.findall(r'href="([^"]*/calls\?[^"]*)"', text)
    shown = control.get(link)
    assert shown.status == 200
    assert unescape(shown.text).count('href="/calls/0') == 50
    assert "Only filter <code>request:" in shown.text


def test_nothing_found_too_few_and_failed_look_different(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing was found in 260 calls" in page(control, "kind=batchable_work")
    few = page(control, "project=nothing")
    assert "Too few calls to advise on" in few
    assert "There are 0 calls; 50 are needed." in few
    wrong = control.get("/recommendations?days=many")
    assert (wrong.status, "is no number of days" in unescape(wrong.text)) == (400, True)

    def broken(*_: object) -> None:
        from ultimate_lib.errors import Unavailable

        raise Unavailable("The lake is away.")

    monkeypatch.setattr(recommendations, "_found", broken)
    failed = control.get("/recommendations?days=28")
    assert (failed.status, "Recommendations cannot be made now. The lake is away." in unescape(failed.text)) == (
        503,
        True,
    )
    assert "Nothing to recommend" not in failed.text


def test_what_may_cost_more_is_shown_with_its_sign_and_in_words(
    control: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recommendations.recommendations

    def risky(*told: Any) -> recommendations.Recommendations:
        found = real(*told)
        found.recommendations[0] = msgspec.structs.replace(found.recommendations[0], lower_usd=-0.55)
        return found

    monkeypatch.setattr(recommendations, "recommendations", risky)
    text = page(control, "kind=duplicate_calls")
    assert "95 %: -$0.55 to" in text
    assert "It may also cost more than now: up to $0.55" in text
    assert text.count("cost more than now") == 1


def test_an_empty_lake_says_how_to_begin(tmp_path: Path) -> None:
    with alone.start(tmp_path) as running:
        text = page(running)
        assert "There are 0 calls; 50 are needed." in text
        assert "how to connect a client" in text


def test_of_days_that_are_not_kept_nothing_is_said(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"record.keep_days": 10}) as running:
        answer = told(running, "days=30")
        since, until = (datetime.fromisoformat(answer[name]) for name in ("since", "until"))
        assert until - since == timedelta(days=10)

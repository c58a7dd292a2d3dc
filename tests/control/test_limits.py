"""Budgets and rate limits over HTTP: who may, what is refused, what the audit keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from proxy_server.control.api import limits
from tests.control import alone
from tests.control.alone import Alone
from ultimate_lib.limits.status import BudgetState
from ultimate_lib.store import keys, tables
from ultimate_lib.store import limits as rows

BUDGET = {"subject": "global", "amount": 25_000_000_000, "period": "month"}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("control")) as running:
        yield running


def make(control: Alone, path: str = "/api/budgets", **told: Any) -> Any:
    about = {**BUDGET, **told} if path == "/api/budgets" else told
    reply = control.ask("POST", path, key=control.key, told=about)
    assert reply.status == 201, reply.text
    return reply.json


def audited(control: Alone) -> list[Any]:
    return list(control.get("/api/audit?limit=500").json["audit"])


def test_a_budget_is_made_read_changed_and_removed(control: Alone) -> None:
    made = make(control, name="lab", hard=True)
    path = f"/api/budgets/{made['id']}"
    assert control.get(path).json == made
    assert (made["version"], made["unit"], made["when_short"]) == (1, "nano_usd", "refuse")
    changed = control.ask("PATCH", path, key=control.key, told={"amount": 7}, headers={"If-Match": '"v1"'})
    assert (changed.status, changed.json["amount"], changed.json["version"]) == (200, 7, 2)
    stale = control.ask("PATCH", path, key=control.key, told={"amount": 8}, headers={"If-Match": '"v1"'})
    assert (stale.status, stale.json["error"]["code"]) == (412, "changed")
    (state,) = [one for one in control.get("/api/budgets/status").json["budgets"] if one["id"] == made["id"]]
    assert (state["amount"], state["spent"], state["held"], state["left"], state["used_ratio"]) == (7, 0, 0, 7, 0.0)
    assert control.get("/api/budget/status").json == control.get("/api/budgets/status").json
    assert control.ask("DELETE", path, key=control.key).status == 200
    assert control.get(path).status == 404
    told = [entry for entry in audited(control) if entry["object"] == made["id"]]
    assert {entry["action"] for entry in told} == {"budget.create", "budget.change", "budget.delete"}
    (change,) = [entry for entry in told if entry["action"] == "budget.change"]
    assert (change["before"], change["after"]) == ({"amount": 25_000_000_000}, {"amount": 7})


@pytest.mark.parametrize(
    "told",
    [
        {"amount": 0}, {"amount": -5}, {"amount": 2 * 10**18}, {"period": "year"}, {"unit": "eur"},
        {"subject": "planet"}, {"subject": "user", "subject_id": "nobody"}, {"subject": "team"},
        {"subject": "key", "subject_id": "key_none"}, {"subject_id": "x"}, {"when_short": "cry"},
        {"unpriced": "price_as:"}, {"unpriced": "perhaps"}, {"hold_wait_s": -1.0}, {"spent": 5}, {"id": "bud_mine"},
        {"version": 9}, {"amount": "5"},
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_and_leaves_nothing(control: Alone, told: dict[str, Any]) -> None:
    before = (control.get("/api/budgets").json, len(audited(control)))
    reply = control.ask("POST", "/api/budgets", key=control.key, told={**BUDGET, **told})
    assert reply.status == 400
    assert (control.get("/api/budgets").json, len(audited(control))) == before


def test_a_model_to_price_as_has_a_price(control: Alone) -> None:
    made = make(control, hard=True, unpriced="price_as:gpt-4o-mini")
    path = f"/api/budgets/{made['id']}"
    for told, near in (
        ("gpt-4o-minni", "gpt-4o-mini"), ("openai/gpt-4o-minni", "gpt-4o-mini"), ("nonsense", "as the price list"),
        ("llama-3.3-70b-versatile", "of theirs"),  # on the price list, but of no provider that is configured
    ):  # fmt: skip
        for reply in (
            control.ask("POST", "/api/budgets", key=control.key, told={**BUDGET, "unpriced": f"price_as:{told}"}),
            control.ask("PATCH", path, key=control.key, told={"unpriced": f"price_as:{told}"}),
        ):
            assert (reply.status, reply.json["error"]["code"]) == (400, "unpriced"), told
            assert told in reply.json["error"]["message"]
            assert near in reply.json["error"]["hint"]
    with control.bench.store.begin() as connection:  # a price that has gone keeps nobody from other changes
        assert rows.change(connection, "budget", made["id"], 1, {"unpriced": "price_as:gone"})
    told = {"amount": 9, "unpriced": "price_as:gone"}
    assert control.ask("PATCH", path, key=control.key, told=told).status == 200
    assert control.ask("PATCH", path, key=control.key, told={"unpriced": "price_as:openai/gpt-4o"}).status == 200


@pytest.mark.parametrize("told", [{"subject": "key"}, {"period": "day"}, {"unit": "tokens"}, {"amount": 0}])
def test_what_a_budget_is_of_never_changes(control: Alone, told: dict[str, Any]) -> None:
    made = make(control)
    assert control.ask("PATCH", f"/api/budgets/{made['id']}", key=control.key, told=told).status == 400


def test_a_team_is_named_as_its_calls_are(control: Alone) -> None:
    team = control.ask("POST", "/api/teams", key=control.key, told={"name": "search"})
    assert team.status == 201, team.text
    assert make(control, subject="team", subject_id=team.json["id"])["subject_id"] == "search"
    assert make(control, subject="team", subject_id="search", unit="tokens")["subject_id"] == "search"


def test_rate_limits(control: Alone) -> None:
    made = make(control, "/api/rate-limits", subject="user", subject_id=control.admin_id, concurrent=4)
    again = control.ask(
        "POST", "/api/rate-limits", key=control.key,
        told={"subject": "user", "subject_id": control.admin_id, "concurrent": 2},
    )  # fmt: skip
    assert (again.status, again.json["error"]["code"]) == (409, "limit_twice")
    path = f"/api/rate-limits/{made['id']}"
    changed = control.ask("PATCH", path, key=control.key, told={"concurrent": None, "tokens_per_minute": 9}).json
    assert (changed["concurrent"], changed["tokens_per_minute"]) == (None, 9)
    assert control.ask("PATCH", path, key=control.key, told={"tokens_per_minute": None}).status == 400
    assert control.ask("PATCH", path, key=control.key, told={"tokens_per_minute": 0}).status == 400
    assert control.ask("DELETE", path, key=control.key).status == 200


def test_one_sees_ones_own_and_changes_none(control: Alone) -> None:
    key = control.add_user("ana", "api_user", "viewer")
    own = make(control, subject="user", subject_id="ana")
    other = make(control, subject="user", subject_id=control.admin_id)
    of_all = make(control)
    seen = {one["id"] for one in control.get("/api/budgets", key=key).json["budgets"]}
    assert {own["id"], of_all["id"]} <= seen
    assert other["id"] not in seen
    assert {one["id"] for one in control.get("/api/budgets/status", key=key).json["budgets"]} == seen
    assert control.get(f"/api/budgets/{other['id']}", key=key).status == 404
    for method, path, told in (
        ("POST", "/api/budgets", BUDGET), ("PATCH", f"/api/budgets/{own['id']}", {"amount": 1}),
        ("DELETE", f"/api/budgets/{own['id']}", None), ("POST", "/api/rate-limits", {"subject": "global"}),
    ):  # fmt: skip
        assert control.ask(method, path, key=key, told=told).status == 403


def test_a_budget_of_all_tells_its_amounts_to_who_sees_everyones_calls(control: Alone) -> None:
    low, high = control.add_user("bea", "api_user"), control.add_user("cleo", "viewer")  # a viewer of all
    of_all = make(control)
    own = make(control, subject="user", subject_id="bea")

    def seen(key: str, path: str) -> dict[str, Any]:
        told = control.get(path, key=key).json["budgets"]
        return {one["id"]: one for one in told}

    for key, amount in ((low, None), (high, BUDGET["amount"]), (control.key, BUDGET["amount"])):
        assert seen(key, "/api/budgets")[of_all["id"]]["amount"] == amount
        assert control.get(f"/api/budgets/{of_all['id']}", key=key).json["amount"] == amount
        state = seen(key, "/api/budgets/status")[of_all["id"]]
        assert (state["amount"], state["spent"], state["left"]) == (amount, None if amount is None else 0, amount)
        assert state["used_ratio"] == 0
    mine = seen(low, "/api/budgets/status")[own["id"]]
    assert (mine["amount"], mine["left"]) == (BUDGET["amount"], BUDGET["amount"])
    page = control.get("/admin/budgets", key=low)
    assert page.status == 200
    assert b"</strong> spent of what it allows a month. Its amounts are for those who see everyone" in page.body


def test_a_used_ratio_that_is_told_alone_is_in_whole_percents() -> None:
    """Else who knows what one call costs could tell the amount from the step that it makes."""
    caller: Any = SimpleNamespace(known=SimpleNamespace(sees_all=False, permissions=frozenset()))
    about: dict[str, Any] = dict.fromkeys(BudgetState.__struct_fields__)
    state = BudgetState(
        **{**about, "subject": "global", "amount": 1000, "spent": 999, "left": 1, "used_ratio": 0.999}
    )
    veiled = limits._veiled(caller, state)
    assert (veiled.amount, veiled.spent, veiled.held, veiled.left, veiled.used_ratio) == (
        None,
        None,
        None,
        None,
        0.99,
    )


def test_a_narrow_key_sees_what_concerns_it_and_no_other_key_of_its_user(control: Alone) -> None:
    ann = control.add_user("eli", "api_user")

    def key(by: str, name: str) -> tuple[str, str]:
        told = {"name": name, "scopes": ["proxy:call"]}
        made = control.ask("POST", "/api/keys", key=by, told=told).json
        return made["key"], made["about"]["id"]

    (narrow, own_id), (_, other_id) = key(ann, "narrow"), key(ann, "other")
    _, below_id = key(narrow, "below")
    subjects = {"key": (own_id, below_id), "user": ("eli",)}
    seen = [make(control, subject=kind, subject_id=one)["id"] for kind, ids in subjects.items() for one in ids]
    hidden = make(control, subject="key", subject_id=other_id)["id"]
    rate = {"subject": "key", "subject_id": other_id, "concurrent": 1}
    rate_id = control.ask("POST", "/api/rate-limits", key=control.key, told=rate).json["id"]
    for path in ("/api/budgets", "/api/budgets/status"):
        for asking, told in ((narrow, {*seen}), (ann, {*seen, hidden})):
            found = control.get(path, key=asking).json["budgets"]
            assert {one["id"] for one in found if one["subject"] != "global"} == told
    for path in (f"/api/budgets/{hidden}", f"/api/rate-limits/{rate_id}"):
        assert control.get(path, key=narrow).status == 404
        assert control.get(path, key=ann).status == 200
    found = control.get("/api/rate-limits", key=narrow).json["rate_limits"]
    assert [one for one in found if one["subject"] != "global"] == []


def test_budgets_of_all_ones_keys_are_seen_however_many_there_are(control: Alone) -> None:
    key = control.add_user("dora", "api_user")
    with control.bench.store.begin() as connection:
        (first,) = (row for row in keys.listed(connection, user_id="user_dora"))
        about = {name: first[name] for name in tables.keys.c.keys() if name in first}  # noqa: SIM118 - no dictionary
        about = {**about, "created_at": first["created_at"] + timedelta(hours=1)}
        more = [{**about, "id": f"key_{number}", "hash": b"%d" % number} for number in range(600)]
        connection.execute(sa.insert(tables.keys), more)
    own = make(control, subject="key", subject_id=first["id"])
    assert own["id"] in {one["id"] for one in control.get("/api/budgets", key=key).json["budgets"]}


def test_hard_budgets_need_one_gateway(tmp_path_factory: pytest.TempPathFactory) -> None:
    with alone.start(tmp_path_factory.mktemp("several"), **{"server.gateways": 2}) as several:
        hard = several.ask("POST", "/api/budgets", key=several.key, told={**BUDGET, "hard": True})
        assert (hard.status, hard.json["error"]["code"]) == (400, "gateways_budget")
        make(several)

"""Pages about whose: one's own account, rate limits, what hard budgets do, and whose calls are shown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_server.control.pages import agents
from tests.control import alone, calls
from tests.control.alone import Alone
from tests.control.test_pages import Tags, text_of
from tests.control.test_people import GOOD, OTHER, cookie_of, login, make
from ultimate_lib.limits.status import BudgetState


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("control")) as running:
        yield running


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Alone]:
    """One for itself: calls count in the other's budgets."""
    with alone.start(tmp_path) as running:
        yield running


def shown(control: Alone, path: str, key: str | None = None, **headers: str) -> str:
    """Return a page's text, which is well-formed."""
    reply = control.ask("GET", path, key=None if headers else key or control.key, headers=headers)
    assert reply.status == 200, reply.text
    Tags(reply.text)
    return html.unescape(text_of(reply.text))


def made(control: Alone, path: str, **told: object) -> str:
    reply = control.ask("POST", f"/api/{path}", key=control.key, told=told)
    assert reply.status == 201, reply.text
    return str(reply.json["id"])


# -- one's own account ----------------------------------------------------------------------------------------------


def test_everybody_reads_what_they_may_do_in_plain_words(control: Alone) -> None:
    team = made(control, "teams", name="readers")
    make(control, "rita", roles={"viewer": "team", "api_user": "all"}, teams=[team], password=GOOD)
    told = shown(control, "/account", **cookie_of(control, login(control, "rita", GOOD)))
    assert "viewer shows calls of the teams Sees dashboards, numbers and reports." in told
    assert "api_user shows own calls Calls models with keys" in told, "whatever its scope says"
    assert "You see the calls of the team readers, and your own." in told
    assert "Call models through the proxy." in told
    assert "Run reports." not in told
    assert "You have no key yet." in told
    assert "this one" in told
    assert "Nowhere else." in told


def test_who_has_no_password_reads_why(control: Alone) -> None:
    told = shown(control, "/account", Cookie=control.sign_in())
    assert "You have no password, and need none here." in told
    assert "ultimate-proxy link" in told
    assert "Current password" not in told


def test_a_key_is_told_that_browsers_change_passwords(control: Alone) -> None:
    assert "A browser changes it; this page was asked for with a key." in shown(control, "/account")
    less = control.ask("POST", "/api/keys", key=control.key, told={"name": "x", "scopes": ["proxy:call"]}).json["key"]
    assert "Not told to this key: it may do less than you." in shown(control, "/account", less)


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/128.0.0.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/128.0 Safari/537.36 Edg/128.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14; rv:128.0) Gecko/128.0 Firefox/128.0", "Firefox on Android"),
        ("Python-urllib/3.11", "Python-urllib/3.11"),
        ("x" * 300, "x" * 60 + "…"),
        (None, "a browser that does not say its name"),
    ],
)
def test_browsers_are_named_as_people_name_them(agent: str | None, told: str) -> None:
    assert agents.told(agent) == told


def test_a_changed_password_and_all_others_end_every_session_but_ones_own(control: Alone) -> None:
    user = make(control, "cleo", roles={"viewer": "own"}, password=GOOD)
    here, there = (cookie_of(control, login(control, "cleo", GOOD)) for _ in range(2))

    def alive(browser: dict[str, str]) -> bool:
        return control.ask("GET", "/api/sessions", headers=browser).status == 200

    assert control.ask("DELETE", "/api/sessions?others=true", headers=here).json == {"ended": 1}
    assert (alive(here), alive(there)) == (True, False)
    there = cookie_of(control, login(control, "cleo", GOOD))
    path = f"/api/users/{user['id']}/password"
    changed = control.ask("PUT", path, headers=here, told={"password": OTHER, "current": GOOD})
    assert changed.status == 200
    assert (alive(here), alive(there)) == (False, False), "all that there were"
    assert alive({"Cookie": changed.headers["Set-Cookie"].partition(";")[0]}), "who changed it goes on"
    rows = control.get("/api/audit?actor=cleo").json["audit"]
    assert [row["action"] for row in rows[:3]] == ["session.start", "user.password", "session.start"]
    of_admin = control.ask("PUT", path, key=control.key, told={"password": GOOD})
    assert of_admin.headers["Set-Cookie"] is None, "another's password signs nobody in"


# -- rate limits ----------------------------------------------------------------------------------------------------


def test_rate_limits_are_told_to_whom_they_concern(control: Alone) -> None:
    assert "A good first one, made below" in shown(control, "/admin/rate-limits")
    team = made(control, "teams", name="racers")
    user = make(control, "rosa", roles={"viewer": "own"}, teams=[team], password=GOOD)
    bystander = make(control, "ben", roles={"viewer": "own"}, password=GOOD)
    key = control.ask("POST", "/api/keys", key=control.key, told={"name": "nightly <b>"}).json["about"]
    made(control, "rate-limits", subject="team", subject_id="racers", requests_per_minute=1200)
    made(control, "rate-limits", subject="user", subject_id=user["id"], concurrent=4)
    of_key = made(control, "rate-limits", subject="key", subject_id=key["id"], tokens_per_minute=5000)
    told = shown(control, "/admin/rate-limits")
    for row in (
        "Team racers 1,200 no limit no limit",
        "User rosa no limit no limit 4",
        "Key nightly <b> no limit 5,000",
    ):
        assert row in told
    own = shown(control, "/admin/rate-limits", **cookie_of(control, login(control, "rosa", GOOD)))
    assert "Team racers" in own
    assert "You no limit" in own
    assert "nightly" not in own
    assert "Make a rate limit" not in own
    nobody = shown(control, "/admin/rate-limits", **cookie_of(control, login(control, bystander["name"], GOOD)))
    assert "An administrator can set one." in nobody
    page = control.get(f"/admin/rate-limits/{of_key}").text
    assert 'value="5000"' in page
    assert "nightly &lt;b&gt;" in page


# -- budgets --------------------------------------------------------------------------------------------------------


def test_a_hard_budget_says_what_it_does_and_a_table_says_all(control: Alone) -> None:
    made(control, "budgets", name="Lab", subject="global", amount=25 * 10**9, period="month", hard=True,
         when_short="clamp", hold_wait_s=2.5, unpriced="price_as:gpt-4o")  # fmt: skip
    made(control, "budgets", name="Plain", subject="global", amount=1000, unit="tokens", period="total", hard=True)
    told = shown(control, "/admin/budgets")
    assert (
        "wait up to 2.5\u00a0s for others to end, then get a shorter answer; those without a price count as gpt-4o."
        in (html.unescape(control.get("/admin/budgets").text))
    )
    assert "then are refused; those without a price are refused." in told
    table = told[told.index("Show as table") :]
    assert "Lab everyone $25.00 a month $0 $0 $25.00 0%" in table
    assert "Plain everyone 1,000 tokens in all 0 tokens 0 tokens 1,000 tokens 0% never" in table
    assert "Show as table" in shown(control, "/")


def test_what_is_not_known_of_a_budget_is_unknown_and_no_zero(
    control: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy_server.control.api import limits

    state = BudgetState(
        id="bud_x", name="Dim", subject="global", subject_id=None, unit="nano_usd", amount=10**9, period="total",
        period_start=None, period_end=None, hard=False, enabled=True,
        spent=None, held=None, left=None, used_ratio=None,
    )  # fmt: skip
    monkeypatch.setattr(limits, "states", lambda *_: [state])
    told = shown(control, "/admin/budgets")
    assert "how much of it is spent is unknown now" in told
    assert "Dim everyone $1.00 in all unknown unknown unknown unknown never" in told
    assert re.search(r"\$0\b", told) is None


# -- whose calls ----------------------------------------------------------------------------------------------------


def test_whose_calls_are_shown_is_chosen_of_what_one_may_see(apart: Alone) -> None:
    control = apart
    team = made(control, "teams", name="lookers")
    user = make(control, "lee", roles={"viewer": "team"}, teams=[team], password=GOOD)
    alone_ = make(control, "lone", roles={"viewer": "own"}, password=GOOD)
    now = control.bench.clock.now()
    calls.write(
        control.bench.settings,
        calls.call(now, user_id=user["id"], team="lookers", project="of-lee"),
        calls.call(now, user_id=user["id"], team="elsewhere", project="of-lee-elsewhere"),
        calls.call(now, user_id="user_other", team="lookers", project="of-the-team"),
        calls.call(now, user_id=control.admin_id, team=None, project="of-the-owner"),
    )
    lee = cookie_of(control, login(control, "lee", GOOD))

    def projects(path: str, **headers: str) -> set[str]:
        listed = shown(control, path, **headers) if headers else shown(control, path)
        return {one for one in re.findall(r"(?<!pytest-)of-[a-z-]+", listed) if one != "of-the-users"}

    for page in ("/calls", "/"):
        assert projects(page, **lee) == {"of-lee", "of-the-team"}, page
        assert projects(f"{page}?whose=mine", **lee) == {"of-lee", "of-lee-elsewhere"}, page
        assert projects(f"{page}?whose=teams", **lee) == {"of-lee", "of-the-team"}, page
        assert projects(f"{page}?whose=mine") == {"of-the-owner"}, page
        assert len(projects(page)) == 4, page
    reply = control.ask("GET", "/calls?whose=mine", headers=lee).text
    assert f"filter=user%3A{user['id']}" in reply, "live events keep to the choice"
    assert re.search(r'<option value="mine" selected>My own calls', reply)
    assert "My team: lookers" in reply
    own = control.ask("GET", "/calls", headers=cookie_of(control, login(control, alone_["name"], GOOD))).text
    assert 'name="whose"' not in own, "there is nothing to choose"
    both = control.get("/calls?whose=mine&user=user_other")
    assert (both.status, "Your own calls are not another" in both.text) == (400, True)
    assert control.get("/calls?whose=everybody").status == 400


# -- keys and the audit ---------------------------------------------------------------------------------------------


def test_the_list_of_keys_says_whose_they_are_and_how_much_they_may(control: Alone) -> None:
    told = shown(control, "/admin/keys?whose=all")
    assert "Everyone's keys Whose" in told
    assert re.search(r"\d\d permissions", told)


def test_the_audit_is_told_in_names_dollars_and_minutes(control: Alone) -> None:
    team = made(control, "teams", name="auditors", title="Those who look")
    user = make(control, "otto", roles={"viewer": "team"}, teams=[team], password=GOOD)
    budget = made(control, "budgets", name="Otto's", subject="user", subject_id=user["id"], amount=5 * 10**8,
                  period="day")  # fmt: skip
    nameless = made(control, "rate-limits", subject="user", subject_id=user["id"], requests_per_minute=1200)
    gone = made(control, "budgets", subject="global", amount=7 * 10**9, period="week")
    for change in ({"amount": 1_250_000_000}, {"hard": True}):
        control.ask("PATCH", f"/api/budgets/{budget}", key=control.key, told=change)
    control.ask("DELETE", f"/api/budgets/{gone}", key=control.key)
    control.ask("POST", f"/api/users/{user['id']}/link", key=control.key)
    key = control.ask(
        "POST", "/api/keys", key=control.key, told={"name": "nightly", "models": ["claude-*", "gpt-4o"]}
    )
    made_key = key.json["about"]["id"]
    page = html.unescape(control.get("/admin/audit").text)
    for one, name in (
        (team, "Those who look"),
        (user["id"], "otto"),
        (budget, "Otto's"),
        (nameless, "of user otto"),
        (made_key, "nightly"),
        (gone, gone),
    ):
        assert f'<a href="/admin/audit?object={one}" title="{one}: all its changes">{name}</a>' in page, one
    told = shown(control, "/admin/audit")
    for line in (
        "for: user", "which: otto", "amount: $0.50", "unit: dollars", "amount: $0.50 → $1.25", "hard: no → yes",
        "amount: was $7.00", "requests per minute: 1200", "roles: viewer (team)", "models: claude-*, gpt-4o",
    ):  # fmt: skip
        assert line in told, line
    assert re.search(r"until: \d{4}-\d\d-\d\d \d\d:\d\d ", told)
    assert "nano_usd" not in told
    assert budget not in told
    assert "nightly" in shown(control, f"/admin/audit?object={made_key}")

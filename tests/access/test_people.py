"""Users, their roles and teams: who may change whom, and what they see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.access.folk import again, person
from ultimate_lib.access import audits, keys, passwords, reach, refusals, roles, sessions, teams, users, views
from ultimate_lib.access.changes import Changed
from ultimate_lib.access.keys import KeyCache
from ultimate_lib.access.principal import Principal, of_user
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Denied, Invalid, Limited, NotFound
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store, audit, tables

MASTER = MasterKey(bytes(32))


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.fixture
def root(store: Store, clock: SteppedClock) -> Principal:
    return person(store, clock, "root", admin="all")


def test_a_user_is_made_with_roles_and_teams_and_all_of_it_is_in_the_audit(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    team = teams.create(store, clock, root, name="search", title="Search & ranking")
    made = users.create(
        store, clock, root, name="ann", email="ann@example.org", roles={"viewer": None, "api_user": None},
        teams=[team["id"]], address="10.0.0.1",
    )  # fmt: skip
    assert made["roles"] == {"viewer": "team", "api_user": "own"}
    assert [team["name"] for team in made["teams"]] == ["search"]
    assert made["has_password"] is False
    assert made == users.one(store, made["id"])
    assert [one["name"] for one in users.listed(store)] == ["ann", "root"]
    (row,) = audits.found(store, root, {"action": "user.create"}, limit=10)
    assert (row["actor"], row["object"], row["address"]) == ("root", made["id"], "10.0.0.1")
    assert row["after"]["roles"] == made["roles"]
    users.change(store, clock, root, made["id"], email=None, version=1)
    (row,) = audits.found(store, root, {"action": "user.change"}, limit=10)
    assert (row["before"], row["after"]) == ({"email": "ann@example.org"}, {"email": None})
    with pytest.raises(Changed):
        users.change(store, clock, root, made["id"], email="b@example.org", version=1)
    assert audits.verify(store, clock).broken_at is None


@pytest.mark.parametrize(
    "name", ["", " ann", "ann ", "a\nb", "x" * 101, "ann", "ann\u200b", "\u202enna", "System", "anonymous"]
)
def test_a_name_that_cannot_be_is_refused(store: Store, clock: SteppedClock, root: Principal, name: str) -> None:
    person(store, clock, "ann")
    with pytest.raises(Invalid):
        users.create(store, clock, root, name=name, roles={})
    assert len(users.listed(store)) == 2


def test_only_who_manages_users_does(store: Store, clock: SteppedClock, root: Principal) -> None:
    mod = person(store, clock, "mod", moderator="all")
    for change in (
        lambda: users.create(store, clock, mod, name="x", roles={}),
        lambda: users.change(store, clock, mod, mod.user_id, email=None),
        lambda: users.set_roles(store, clock, mod, mod.user_id, {"admin": "all"}),
        lambda: users.deactivate(store, clock, mod, root.user_id),
        lambda: teams.create(store, clock, mod, name="x"),
        lambda: sessions.password_link(store, clock, mod, root.user_id),
    ):
        with pytest.raises(Denied):
            change()
    assert len(users.listed(store)) == 2


def test_the_last_administrator_stays(store: Store, clock: SteppedClock, root: Principal) -> None:
    eve = person(store, clock, "eve", admin="all")
    users.deactivate(store, clock, root, eve.user_id)
    for change in (
        lambda: users.deactivate(store, clock, root, root.user_id),
        lambda: users.set_roles(store, clock, root, root.user_id, {"viewer": "all"}),
    ):
        with pytest.raises(Invalid, match="last administrator"):
            change()
    users.reactivate(store, clock, root, eve.user_id)
    assert users.deactivate(store, clock, eve, root.user_id)["active"] is False


def test_two_administrators_who_shut_each_other_out_at_once_leave_one(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    eve = person(store, clock, "eve", admin="all")
    for _ in range(5):
        at_once = threading.Barrier(2)
        refused: list[Exception] = []

        def shut_out(
            actor: Principal, other: Principal, at_once: threading.Barrier, refused: list[Exception]
        ) -> None:
            at_once.wait()
            try:
                users.deactivate(store, clock, actor, other.user_id)
            except Invalid as error:
                refused.append(error)

        pairs = ((root, eve), (eve, root))
        threads = [threading.Thread(target=shut_out, args=(*pair, at_once, refused)) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        active = [user["name"] for user in users.listed(store) if user["active"]]
        assert len(active) == 1
        assert len(refused) == 1
        for who in (root, eve):
            users.reactivate(store, clock, root, who.user_id)
    assert audits.verify(store, clock).broken_at is None


def test_deactivation_shuts_sessions_keys_and_links_out_within_five_seconds(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    ann = person(store, clock, "ann", api_user="own")
    token, _ = keys.create_key(store, clock, ann, name="k")
    session = sessions.exchange_link(store, clock, sessions.make_link(store, clock, ann.user_id))
    link = sessions.make_link(store, clock, ann.user_id)
    assert session is not None
    cache = KeyCache(store, clock)
    assert cache.lookup(token) is not None
    users.deactivate(store, clock, root, ann.user_id)
    assert sessions.lookup(store, clock, session) is None
    assert sessions.exchange_link(store, clock, link) is None
    clock.advance(5)
    assert cache.lookup(token) is None
    users.reactivate(store, clock, root, ann.user_id)
    assert sessions.lookup(store, clock, session) is None, "what ended has ended"
    clock.advance(5)
    assert cache.lookup(token) is not None, "keys come back with their user"


def test_other_roles_end_the_sessions_that_had_the_former_ones(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    ann = person(store, clock, "ann", analyst="all")
    session = sessions.exchange_link(store, clock, sessions.make_link(store, clock, ann.user_id))
    assert session is not None
    users.set_roles(store, clock, root, ann.user_id, {"analyst": "all"})
    assert sessions.lookup(store, clock, session) is not None, "nothing has changed"
    told = users.set_roles(store, clock, root, ann.user_id, {"viewer": None})
    assert told["roles"] == {"viewer": "team"}
    assert sessions.lookup(store, clock, session) is None
    (row,) = audits.found(store, root, {"action": "user.roles"}, limit=10)
    assert (row["before"], row["after"]) == ({"roles": {"analyst": "all"}}, {"roles": {"viewer": "team"}})


# -- reach --------------------------------------------------------------------------------------------------------


def test_a_narrow_key_of_an_administrator_makes_nobody_mighty(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    narrow = replace(root, permissions=frozenset({"users:manage"}), key_id="key_1")
    for change in (
        lambda: users.create(store, clock, narrow, name="x", roles={"admin": None}),
        lambda: users.create(store, clock, narrow, name="x", roles={"api_user": None}),
        lambda: users.set_roles(store, clock, narrow, root.user_id, {}),
        lambda: sessions.password_link(store, clock, narrow, root.user_id),
        lambda: users.change(store, clock, narrow, root.user_id, email="evil@example.org"),
    ):
        with pytest.raises(Denied):
            change()
    assert users.create(store, clock, narrow, name="nobody", roles={})["roles"] == {}


def test_who_sees_less_sets_no_password_of_who_sees_more(store: Store, clock: SteppedClock, root: Principal) -> None:
    narrow, ann = person(store, clock, "narrow", admin="own"), person(store, clock, "ann", analyst="all")
    for change in (
        lambda: sessions.password_link(store, clock, narrow, ann.user_id),
        lambda: passwords.change(store, clock, MASTER, narrow, ann.user_id, "a long enough sentence"),
        lambda: users.set_roles(store, clock, narrow, ann.user_id, {}),
    ):
        with pytest.raises(Denied):
            change()
    assert sessions.password_link(store, clock, root, ann.user_id)


def test_a_link_made_for_who_was_in_reach_is_void_once_its_user_may_do_more(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    ann = person(store, clock, "ann", viewer="team")
    helper = replace(root, permissions=ann.permissions | {"users:manage"}, key_id="key_1")
    token, _ = sessions.password_link(store, clock, helper, ann.user_id)
    users.set_roles(store, clock, root, ann.user_id, {"admin": None})
    with pytest.raises(Denied):
        passwords.set_by_link(store, clock, token, "a long enough sentence", "192.0.2.1", "")


_HELD = st.dictionaries(st.sampled_from(sorted(roles.GRANTABLE)), st.sampled_from(roles.SCOPES), max_size=4)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'data' / 'store.sqlite'}")
    store.migrate()
    yield store
    store.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=_HELD, narrowed=st.frozensets(st.sampled_from(sorted(roles.PERMISSIONS))), has=_HELD, wanted=_HELD)
def test_lesson_L10_nobody_grants_what_one_does_not_hold(
    sqlite: Store,
    held: dict[str, str],
    narrowed: frozenset[str],
    has: dict[str, str],
    wanted: dict[str, str],
) -> None:
    clock = SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    user_id = f"user_{len(users.listed(sqlite))}"
    target = person(sqlite, clock, user_id.removeprefix("user_"), **has)
    actor = of_user("user_actor", "actor", held, {})
    actor = replace(actor, permissions=(actor.permissions - narrowed) | {"users:manage"})
    try:
        users.set_roles(sqlite, clock, actor, target.user_id, wanted)
    except (Denied, Invalid):
        assert users.one(sqlite, target.user_id)["roles"] == has, "a refusal changes nothing"
        return
    after = again(sqlite, target.user_id)
    assert after.permissions <= actor.permissions, "what it may do, its granter may"
    reachable = max(roles.SCOPES.index(actor.view), roles.SCOPES.index(target.view))
    assert roles.SCOPES.index(after.view) <= reachable


def test_lesson_L10_made_users_hold_no_more_than_their_maker(store: Store, clock: SteppedClock) -> None:
    for number, held in enumerate(roles.GRANTABLE):
        actor = Principal(
            user_id="a", user_name="a", permissions=roles.GRANTABLE[held] | {"users:manage"}, view="team"
        )
        for wanted, gives in roles.GRANTABLE.items():
            name = f"{number}-{wanted}"
            if gives <= actor.permissions and wanted != "admin":
                users.create(store, clock, actor, name=name, roles={wanted: None})
            else:
                with pytest.raises(Denied):
                    users.create(store, clock, actor, name=name, roles={wanted: None})


def test_wrong_roles_and_scopes_are_named() -> None:
    with pytest.raises(Invalid, match="no role 'boss'"):
        reach.checked_roles({"boss": None})
    with pytest.raises(Invalid, match="no scope 'world'"):
        reach.checked_roles({"viewer": "world"})


def test_presets_are_roles_by_another_name() -> None:
    assert roles.PRESETS["finance"] == roles.ROLES["viewer"] | {"analytics:export", "reports:schedule"}
    assert not roles.PRESETS.keys() & roles.ROLES.keys()


# -- teams --------------------------------------------------------------------------------------------------------


def test_calls_are_booked_under_the_keys_team_else_the_first_one_joined(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    ann = person(store, clock, "ann", api_user="own")
    later = teams.create(store, clock, root, name="aaa")
    first = teams.create(store, clock, root, name="zzz")
    teams.add_member(store, clock, root, first["id"], ann.user_id)
    clock.advance(60)
    teams.add_member(store, clock, root, later["id"], ann.user_id)
    token, _ = keys.create_key(store, clock, again(store, ann.user_id), name="k")
    found = KeyCache(store, clock).lookup(token)
    assert found is not None
    assert (found.team, found.teams) == ("zzz", ("zzz", "aaa"))
    teams.archive(store, clock, root, first["id"])
    found = KeyCache(store, clock).lookup(token)
    assert found is not None
    assert (found.team, found.teams) == ("aaa", ("aaa",))


def test_a_lead_manages_the_members_of_its_own_team_alone(store: Store, clock: SteppedClock, root: Principal) -> None:
    for name in ("lea", "ann", "bob"):
        person(store, clock, name, viewer="team")
    ours, theirs = (teams.create(store, clock, root, name=name) for name in ("ours", "theirs"))
    teams.add_member(store, clock, root, ours["id"], "user_lea", lead=True)
    teams.add_member(store, clock, root, theirs["id"], "user_bob", lead=True)
    lea = again(store, "user_lea")
    assert (lea.teams, lea.leads) == (("ours",), ("ours",))
    told = teams.add_member(store, clock, lea, ours["id"], "user_ann")
    assert [(member["name"], member["lead"]) for member in told["members"]] == [("ann", False), ("lea", True)]
    ann = again(store, "user_ann")
    assert teams.one(store, ann, ours["id"])["members"] is None, "members are shown to who manages them"
    assert [team["name"] for team in teams.listed(store, ann)] == ["ours"]
    with pytest.raises(NotFound):
        teams.one(store, ann, theirs["id"])
    for change in (
        lambda: teams.add_member(store, clock, lea, ours["id"], "user_bob", lead=True),
        lambda: teams.add_member(store, clock, lea, ours["id"], "user_ann", lead=True),
        lambda: teams.add_member(store, clock, ann, ours["id"], "user_bob"),
        lambda: teams.remove_member(store, clock, ann, ours["id"], "user_lea"),
        lambda: teams.change(store, clock, lea, ours["id"], {"title": "x"}),
        lambda: teams.archive(store, clock, lea, ours["id"]),
        lambda: teams.add_member(
            store, clock, replace(lea, key_id="k", permissions=frozenset()), ours["id"], "user_bob"
        ),
    ):
        with pytest.raises(Denied):
            change()
    with pytest.raises(NotFound):
        teams.add_member(store, clock, lea, theirs["id"], "user_ann")
    assert len(teams.remove_member(store, clock, lea, ours["id"], "user_ann")["members"]) == 1


def test_a_teams_name_is_never_used_twice_and_its_title_changes(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    made = teams.create(store, clock, root, name="search", title="Search", cost_center="1")
    told = teams.change(store, clock, root, made["id"], {"title": "Find"}, version=1)
    assert (told["name"], told["title"], told["cost_center"], told["version"]) == ("search", "Find", "1", 2)
    with pytest.raises(Changed):
        teams.change(store, clock, root, made["id"], {"title": "x"}, version=1)
    with pytest.raises(Invalid):
        teams.change(store, clock, root, made["id"], {"name": "other"})
    assert teams.archive(store, clock, root, made["id"])["archived_at"] == clock.now()
    for name in ("search", "", "a b", "../x", "x" * 65):
        with pytest.raises(Invalid):
            teams.create(store, clock, root, name=name)
    (row,) = audits.found(store, root, {"action": "team.change"}, limit=5)
    assert (row["before"], row["after"]) == ({"title": "Search"}, {"title": "Find"})


# -- views --------------------------------------------------------------------------------------------------------


def who(view: str, *teams_of: str) -> Principal:
    return Principal(
        user_id="me",
        user_name="me",
        permissions=frozenset(),
        view=view,
        teams=teams_of,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("caller", "where", "expected"),
    [
        (who("all"), {"user": ("you",)}, {"user": ("you",)}),
        (who("own"), {}, {"user": ("me",)}),
        (who("own", "a"), {"user": ("me",), "model": ("m",)}, {"user": ("me",), "model": ("m",)}),
        (who("own"), {"user": ("you",)}, None),
        (who("own"), {"user": ("me", "you")}, None),
        (who("team"), {}, {"user": ("me",)}),
        (who("team"), {"user": ("you",)}, None),
        (who("team", "a", "b"), {}, {"team": ("a", "b")}),
        (who("team", "a", "b"), {"team": ("b",)}, {"team": ("b",)}),
        (who("team", "a"), {"team": ("a", "c")}, None),
        (who("team", "a"), {"team": (None,)}, None),
        (who("team", "a"), {"user": ("you",)}, {"user": ("you",), "team": ("a",)}),
        (who("team", "a"), {"user": ("me",)}, {"user": ("me",)}),
        (who("team", "a"), {"user": ("me",), "team": ("c",)}, {"user": ("me",), "team": ("c",)}),
        (who("team", "a"), {"user": ("me", "you")}, {"user": ("me", "you"), "team": ("a",)}),
    ],
)
def test_filters_are_narrowed_to_what_a_caller_may_see(
    caller: Principal, where: dict[str, tuple[str | None, ...]], expected: dict[str, tuple[str, ...]] | None
) -> None:
    if expected is None:
        with pytest.raises(Denied):
            views.narrowed(caller, where)
    else:
        assert views.narrowed(caller, where) == expected


def test_single_calls_are_seen_by_the_same_rule() -> None:
    calls = [{"user_id": user, "team": team} for user in ("me", "you") for team in (None, "a", "b")]

    def seen(caller: Principal) -> list[tuple[str, str | None]]:
        return [(call["user_id"], call["team"]) for call in calls if views.may_see(caller, call)]  # type: ignore[misc]

    assert len(seen(who("all"))) == 6
    assert seen(who("own", "a")) == [("me", None), ("me", "a"), ("me", "b")]
    assert seen(who("team", "a")) == [("me", None), ("me", "a"), ("me", "b"), ("you", "a")]
    assert seen(who("team")) == [("me", None), ("me", "a"), ("me", "b")]


def test_the_widest_scope_wins_and_an_api_users_part_shows_own_calls_alone() -> None:
    assert roles.view_of({"viewer": "team", "analyst": "own"}) == "team"
    assert roles.view_of({"api_user": "all"}) == "own"
    assert roles.view_of({"api_user": "own", "finance": "all"}) == "all"
    assert roles.view_of({"gone": "all"}) == "own"
    assert roles.view_of({}) == "own"


# -- audit --------------------------------------------------------------------------------------------------------


def test_the_audit_is_read_by_actor_action_object_time_and_page(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    began = clock.now()
    for number in range(5):
        users.create(store, clock, root, name=f"u{number}", roles={})
        clock.advance(60)
    rows = audits.found(store, root, {"actor": "root"}, limit=10)
    assert [row["after"]["name"] for row in rows] == ["u4", "u3", "u2", "u1", "u0"]
    assert len(audits.found(store, root, {}, start=began, end=rows[3]["at"], limit=10)) == 1
    assert [row["number"] for row in audits.found(store, root, {}, before=rows[2]["number"], limit=1)] == [
        rows[3]["number"]
    ]
    assert audits.found(store, root, {"object": rows[0]["object"], "action": "user.create"}, limit=10) == rows[:1]
    with pytest.raises(Denied):
        audits.found(store, replace(root, permissions=frozenset()), {}, limit=1)


def test_the_chain_holds_when_many_append_at_once(store_url: str, clock: SteppedClock) -> None:
    def append(number: int) -> None:
        mine = Store(store_url)
        for turn in range(20):
            with mine.begin() as connection:
                row = {"at": clock.now(), "actor": str(number), "action": "a", "object": str(turn), "before": None}
                audit.append(connection, {**row, "after": None, "address": None})
        mine.close()

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(store_url)
    told = audits.verify(store, clock)
    store.close()
    assert (told.rows, told.broken_at) == (80, None)


def test_one_look_through_the_chain_at_a_time_and_the_last_is_remembered(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    users.create(store, clock, root, name="u1", roles={})
    assert audits.last_look(store) == (None, 1)
    told = audits.verify(store, clock)
    users.create(store, clock, root, name="u2", roles={})
    look, last = audits.last_look(store)
    assert look is not None
    assert (look.at, look.told, look.told.last_number, last) == (clock.now(), told, 1, 2)
    with audits._turn, pytest.raises(Limited) as caught:
        audits.verify(store, clock)
    assert (caught.value.code, caught.value.retry_after_s) == ("audit_busy", 5.0)
    assert audits.verify(store, clock).rows == 2


def test_names_are_in_one_order_on_every_database(store: Store, clock: SteppedClock, root: Principal) -> None:
    """PostgreSQL's own would put b between A and C: pages behind a name would leave some out, or tell them twice."""
    names = ["A", "C", "Z.z", "a-b", "a1", "b", "root", "z", "é"]
    assert names == sorted(names)
    made = {}
    for name in ("é", "b", "Z.z", "a1", "C", "z", "A", "a-b"):
        made[name] = users.create(store, clock, root, name=name, roles={})["id"]
        if name.isascii():
            team = teams.create(store, clock, root, name=name)["id"]
            teams.add_member(store, clock, root, team, root.user_id)
    assert [user["name"] for user in users.listed(store)] == names
    behind = users.listed(store, after=("a-b", made["a-b"]))
    assert [user["name"] for user in behind] == names[names.index("a1") :]
    ascii_names = [name for name in names if name.isascii() and name != "root"]
    assert [team["name"] for team in teams.listed(store, root)] == ascii_names
    assert list(again(store, root.user_id).teams) == ascii_names, "joined in one moment: by name"
    (told,) = [user for user in users.listed(store) if user["name"] == "root"]
    assert [team["name"] for team in told["teams"]] == ascii_names


def test_refusals_are_written_once_a_second_and_address_and_those_between_are_counted(
    store: Store, clock: SteppedClock, root: Principal
) -> None:
    for _ in range(100):
        refusals.note(store, clock, "anonymous", "session.refuse", "name:x", "10.0.0.1", "login")
    refusals.note(store, clock, "anonymous", "session.refuse", "name:x", "10.0.0.2", "login")
    assert len(audits.found(store, root, {"action": "session.refuse"}, limit=200)) == 2
    clock.advance(1)
    refusals.note(store, clock, "anonymous", "session.refuse", "name:x", "10.0.0.1", "login")
    newest = audits.found(store, root, {"action": "session.refuse"}, limit=1)[0]
    assert newest["after"] == {"code": "login", "skipped": 99}


def test_another_refusal_of_the_same_second_is_written(store: Store, clock: SteppedClock, root: Principal) -> None:
    """Nobody hides an attempt behind a harmless one a moment before, nor behind another user's."""
    for target in ("POST /api/keys", "PUT /api/users/{id}/roles", "PUT /api/users/{id}/roles"):
        refusals.note(store, clock, "bob", "change.refuse", target, "10.0.0.1", "permission")
    refusals.note(store, clock, "ann", "change.refuse", "POST /api/keys", "10.0.0.1", "permission")
    found = audits.found(store, root, {"action": "change.refuse"}, limit=10)
    assert [(row["actor"], row["object"]) for row in reversed(found)] == [
        ("bob", "POST /api/keys"), ("bob", "PUT /api/users/{id}/roles"), ("ann", "POST /api/keys"),
    ]  # fmt: skip
    assert found[0]["after"] == {"code": "permission", "skipped": 1}


def test_refusals_do_not_fill_the_audit(store: Store, clock: SteppedClock, root: Principal) -> None:
    def written(action: str) -> int:
        with store.begin() as connection:
            query = sa.select(sa.func.count()).where(tables.audit.c.action == action)
            return int(connection.execute(query).scalar_one())

    for number in range(300):  # a network that tries each second, from another address each time
        refusals.note(store, clock, "anonymous", "a.refuse", "x", f"2001:db8::{number:x}", "login")
        clock.advance(1)
    assert written("a.refuse") == 24, "20 at once, then one a minute"
    refusals.note(store, clock, "anonymous", "b.refuse", "x", "2001:db8:0:1::1", "login")
    assert written("b.refuse") == 1


def test_refusals_of_strangers_have_their_share_and_hide_none_of_a_user(
    store: Store, clock: SteppedClock, root: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "OF_ALL", 5)
    for number in range(50):
        refusals.note(store, clock, "anonymous", "session.refuse", "x", f"10.0.0.{number}", "login")
    refusals.note(store, clock, "ann", "change.refuse", "x", "10.0.0.1", "permission")
    assert len(audits.found(store, root, {"action": "session.refuse"}, limit=100)) == 5
    assert len(audits.found(store, root, {"actor": "ann"}, limit=100)) == 1
    clock.advance(10)
    refusals.note(store, clock, "anonymous", "session.refuse", "x", "10.0.0.99", "login")
    newest = audits.found(store, root, {"action": "session.refuse"}, limit=1)[0]
    assert newest["after"] == {"code": "login", "skipped_elsewhere": 45}


def test_a_refusal_that_cannot_be_written_stays_a_refusal(
    tmp_path: Path, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Store(f"sqlite:///{tmp_path / 'none' / 'store.sqlite'}")
    refusals.note(broken, clock, "anonymous", "session.refuse", "name:x", "10.0.0.1", "login")
    assert "not in the audit" in caplog.text

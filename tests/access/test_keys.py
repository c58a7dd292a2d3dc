"""Keys in full: who may make, change, rotate and end what; and how far a key reaches through those that made it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ultimate_lib.access import chain, keys, models
from ultimate_lib.access.keys import KeyCache, KeyChange
from ultimate_lib.access.principal import Principal, of_user
from ultimate_lib.access.roles import PERMISSIONS, ROLES
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Denied, Invalid, NotFound
from ultimate_lib.store import Store, audit, identities, tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOON)


class People:
    """Users of a store, and what a test does with their keys."""

    def __init__(self, store: Store, clock: SteppedClock) -> None:
        self.store, self.clock = store, clock

    def add(self, name: str, *roles: str, teams: tuple[str, ...] = (), leads: bool = False) -> Principal:
        with self.store.begin() as connection:
            row = {"id": f"user_{name}", "name": name, "active": True, "created_at": NOON}
            identities.add_user(connection, row, roles)
            for team in teams:
                if not connection.execute(sa.select(tables.teams.c.id).where(tables.teams.c.name == team)).first():
                    connection.execute(sa.insert(tables.teams).values(id=f"team_{team}", name=team, created_at=NOON))
                connection.execute(
                    sa.insert(tables.team_members).values(team_id=f"team_{team}", user_id=row["id"], lead=leads)
                )
        return of_user(row["id"], name, dict.fromkeys(roles, "all"), dict.fromkeys(teams, leads))

    def make(self, maker: Principal, **told: Any) -> tuple[Principal, str, dict[str, Any]]:
        """Make a key and return who it is, it and its row."""
        token, row = keys.create_key(self.store, self.clock, maker, **{"name": "k", **told})
        found = self.who(token)
        assert found is not None
        return found, token, row

    def who(self, token: str) -> Principal | None:
        return KeyCache(self.store, self.clock).lookup(token)


@pytest.fixture
def people(store: Store, clock: SteppedClock) -> People:
    return People(store, clock)


@pytest.fixture
def ada(people: People) -> Principal:
    return people.add("ada", "analyst", "api_user", teams=("search", "ads"))


@pytest.fixture
def root(people: People) -> Principal:
    return people.add("root", "admin", "api_user")


def test_a_key_ends_with_the_key_that_made_it(people: People, ada: Principal) -> None:
    parent, _, parent_row = people.make(ada)
    child, child_token, child_row = people.make(parent)
    _, grandchild_token, _ = people.make(child)
    assert child_row["parent_id"] == parent_row["id"]
    ended = keys.revoke_key(people.store, people.clock, ada, parent_row["id"])
    assert len(ended) == 3
    assert people.who(child_token) is people.who(grandchild_token) is None
    assert all(row["revoked_at"] is not None for row in keys.list_keys(people.store, ada.user_id))


@pytest.mark.parametrize("how", ["revoked", "expired", "user"])
def test_the_chain_is_looked_at_when_a_key_is_used(people: People, ada: Principal, root: Principal, how: str) -> None:
    """Rows that were changed by other hands: the child's own row still says that it lives."""
    maker, _, row = people.make(root, scopes=sorted(PERMISSIONS))
    _, token, _ = people.make(maker, user_id=ada.user_id)
    changes = {"revoked": {"revoked_at": NOON}, "expired": {"expires_at": NOON}}
    with people.store.begin() as connection:
        if how == "user":
            connection.execute(sa.update(tables.users).where(tables.users.c.name == "root").values(active=False))
        else:
            connection.execute(sa.update(tables.keys).where(tables.keys.c.id == row["id"]).values(**changes[how]))
    assert people.who(token) is None


def test_a_key_made_with_a_key_inherits_and_keeps_to_its_locks(people: People, ada: Principal) -> None:
    told = {"project": "alpha", "app": "cli", "tags": ["env=prod", "run=1"], "models": ["claude-*", "gpt-4o"]}
    parent, _, _ = people.make(ada, **told, locked=["project", "tags"], expires_in_days=2)
    child, _, row = people.make(parent, app="other", tags=["who=ada"], expires_in_days=300)
    assert (child.project, child.app, child.team) == ("alpha", "other", "ads")
    assert set(child.tags) == {"env=prod", "run=1", "who=ada"}
    assert child.locked == {"project", "tags"}
    assert child.models == ("claude-*", "gpt-4o")
    assert row["expires_at"] == NOON + timedelta(days=2)
    for wrong in ({"project": "beta"}, {"tags": ["env=dev"]}):
        with pytest.raises(Denied, match="locked"):
            people.make(parent, **wrong)
    for excess in (["gpt-*"], ["*"], ["claude-*", "o3"]):
        with pytest.raises(Denied, match="may not"):
            people.make(parent, models=excess)
    narrow, _, _ = people.make(parent, models=["claude-haiku-*"])
    assert narrow.models == ("claude-haiku-*",)


def test_what_is_taken_from_a_key_is_taken_from_those_below_it(people: People, ada: Principal) -> None:
    parent, _, row = people.make(ada, models=["claude-*"], project="alpha")
    _, token, child_row = people.make(parent, models=["claude-opus-4", "claude-haiku-4"], project="beta")
    change = KeyChange(models=["claude-haiku-*"], project="alpha", locked=["project"], expires_at=NOON + timedelta(1))
    keys.change(people.store, people.clock, ada, row["id"], change)
    found = people.who(token)
    assert found is not None
    assert (found.models, found.project, found.locked) == (("claude-haiku-4",), "alpha", {"project"})
    assert keys.one(people.store, ada, child_row["id"])["expires_at"] == NOON + timedelta(1)
    people.clock.advance(86_400)
    assert people.who(token) is None


def test_a_chain_has_an_end(people: People, ada: Principal) -> None:
    made = ada
    for _ in range(chain.MOST_DEPTH):
        made, token, _ = people.make(made)
    with pytest.raises(Invalid, match="one above the other"):
        people.make(made)
    _, _, last = people.make(ada)
    with people.store.begin() as connection:  # a ring, by other hands
        connection.execute(
            sa.update(tables.keys).where(tables.keys.c.parent_id.is_(None)).values(parent_id=last["id"])
        )
    assert people.who(token) is None


_PERMISSIONS = st.frozensets(st.sampled_from(sorted(PERMISSIONS)), max_size=6)
_MODELS = st.none() | st.lists(
    st.sampled_from(["*", "claude-*", "claude-haiku-*", "claude-haiku-4", "gpt-*", "gpt-4o", "o3"]), max_size=3
)
_STEP = st.tuples(_PERMISSIONS, _MODELS, st.none() | st.integers(1, 30))
NAMES = ("claude-haiku-4", "claude-opus-4", "gpt-4o", "gpt-5", "o3", "")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roles=st.frozensets(st.sampled_from(sorted(ROLES)), min_size=1), steps=st.lists(_STEP, min_size=1, max_size=5))
def test_lesson_L11_no_key_outreaches_its_maker(
    people: People, roles: frozenset[str], steps: list[tuple[frozenset[str], list[str] | None, int | None]]
) -> None:
    """Whatever is asked for, in whatever order: what is refused makes nothing, what is made is within its maker."""
    people.clock.advance(1)
    user = people.add(f"u{people.clock.now_us()}", *roles)
    maker = user
    for scopes, allowed, days in steps:
        before = len(keys.list_keys(people.store, user.user_id))
        try:
            made, _, _ = people.make(maker, scopes=sorted(scopes), models=allowed, expires_in_days=days)
        except Denied:
            assert not scopes <= maker.permissions or models.within(allowed, maker.models) is not None
            assert len(keys.list_keys(people.store, user.user_id)) == before
            continue
        assert made.permissions <= maker.permissions <= user.permissions
        assert all(models.allows(maker.models, name) for name in NAMES if models.allows(made.models, name))
        assert maker.expires_at_us is None or (made.expires_at_us or 0) in range(1, maker.expires_at_us + 1)
        maker = made


def test_an_administrator_makes_keys_for_others_within_their_own_rights(
    people: People, ada: Principal, root: Principal
) -> None:
    made, _, row = people.make(root, user_id=ada.user_id, team="search")
    assert (made.user_id, made.team, row["parent_id"]) == (ada.user_id, "search", None)
    with pytest.raises(Denied, match="'ada' does not have"):
        people.make(root, user_id=ada.user_id, scopes=["keys:manage"])
    with pytest.raises(Invalid, match="no member"):
        people.make(root, user_id=ada.user_id, team="finance")
    with pytest.raises(NotFound, match="no active user"):
        people.make(root, user_id="user_nobody")
    with pytest.raises(Denied, match="keys:manage"):
        people.make(ada, user_id=root.user_id)
    narrow, _, _ = people.make(root, scopes=["keys:manage"])
    with pytest.raises(Denied, match="its maker does not have"):
        people.make(narrow, user_id=ada.user_id, scopes=["proxy:call"])


def test_a_key_narrows_itself_and_only_a_person_or_manager_widens_it(
    people: People, ada: Principal, root: Principal
) -> None:
    acting, _, row = people.make(ada, models=["claude-*"], project="alpha", locked=["project"], expires_in_days=10)
    do: Callable[..., dict[str, Any]] = lambda who, **told: keys.change(  # noqa: E731 - short for many lines
        people.store, people.clock, who, row["id"], KeyChange(**told)
    )
    assert do(acting, models=["claude-haiku-*"], expires_at=NOON + timedelta(5), name=" new ")["name"] == "new"
    for wider in (
        {"models": None}, {"models": ["gpt-4o"]}, {"expires_at": None}, {"expires_at": NOON + timedelta(6)},
        {"locked": []}, {"project": "beta"},
    ):  # fmt: skip
        with pytest.raises(Denied):
            do(acting, **wider)
    assert do(ada, expires_at=NOON + timedelta(20), models=["gpt-4o"], locked=[])["models"] == ["gpt-4o"]
    assert do(root, expires_at=None)["expires_at"] is None
    for wrong in ({"name": ""}, {"models": ["a*b"]}, {"tags": ["x"]}, {"locked": ["name"]}, {"team": "finance"},
                  {"expires_at": datetime(2027, 1, 1)}):  # noqa: DTZ001  # fmt: skip
        with pytest.raises(Invalid):
            do(ada, **wrong)


def test_a_change_expects_a_version_and_leaves_before_and_after(people: People, ada: Principal) -> None:
    _, _, row = people.make(ada)
    changed = keys.change(people.store, people.clock, ada, row["id"], KeyChange(name="x"), version=1)
    assert changed["version"] == 2
    for late in (
        lambda: keys.change(people.store, people.clock, ada, row["id"], KeyChange(name="y"), version=1),
        lambda: keys.rotate(people.store, people.clock, ada, row["id"], version=1),
        lambda: keys.revoke_key(people.store, people.clock, ada, row["id"], version=1),
    ):
        with pytest.raises(Invalid) as told:
            late()
        assert (told.value.code, told.value.http_status) == ("changed", 412)
    assert keys.change(people.store, people.clock, ada, row["id"], KeyChange(name="x"))["version"] == 2, "the same"
    with people.store.begin() as connection:
        (last,) = connection.execute(
            sa.select(tables.audit.c.before, tables.audit.c.after).where(tables.audit.c.action == "key.change")
        )
        assert tuple(last) == ({"name": "k"}, {"name": "x"})
        assert audit.broken_at(connection) is None


def test_a_rotated_key_stays_the_same_key_and_its_former_secret_works_for_a_while(
    people: People, ada: Principal
) -> None:
    acting, old, row = people.make(ada, project="alpha")
    _, child, _ = people.make(acting)
    new, about, until = keys.rotate(people.store, people.clock, ada, row["id"], overlap_hours=24)
    assert new != old
    assert (about["id"], until) == (row["id"], NOON + timedelta(hours=24))
    before, after = people.who(old), people.who(new)
    assert before is not None
    assert after is not None
    assert before.key_id == after.key_id == row["id"]
    assert (before.project, before.permissions) == (after.project, after.permissions)
    (former,) = [one for one in keys.list_keys(people.store, ada.user_id) if one["rotated_from"] == row["id"]]
    with pytest.raises(Invalid, match="former secret"):
        keys.rotate(people.store, people.clock, ada, former["id"])
    people.clock.advance(24 * 3600)
    assert people.who(old) is None
    assert people.who(new) is not None
    assert people.who(child) is not None
    at_once, _, _ = keys.rotate(people.store, people.clock, ada, row["id"])
    assert people.who(new) is None
    keys.rotate(people.store, people.clock, ada, row["id"], overlap_hours=1)
    keys.revoke_key(people.store, people.clock, ada, row["id"])
    assert people.who(at_once) is None, "a former secret ends with its key"
    for wrong in (-1, 169):
        with pytest.raises(Invalid, match="0 to 168"):
            keys.rotate(people.store, people.clock, ada, row["id"], overlap_hours=wrong)


@pytest.mark.parametrize("scopes", [None, ["keys:manage", "proxy:call"]])
def test_a_former_secret_takes_no_key_over_and_shuts_no_owner_out(
    people: People, root: Principal, scopes: list[str] | None
) -> None:
    acting, old, row = people.make(root, scopes=scopes)
    _, _, child = people.make(acting, scopes=scopes)
    new, _, _ = keys.rotate(people.store, people.clock, root, row["id"], overlap_hours=1)
    former = people.who(old)
    assert former is not None
    for key_id in (row["id"], child["id"]):
        for change in (
            lambda key_id=key_id: keys.rotate(people.store, people.clock, former, key_id),
            lambda key_id=key_id: keys.change(people.store, people.clock, former, key_id, KeyChange(models=[])),
            lambda key_id=key_id: keys.revoke_key(people.store, people.clock, former, key_id),
        ):
            with pytest.raises(Denied, match="former secret"):
                change()
    with pytest.raises(Denied, match="former secret"):
        people.make(former, scopes=scopes)  # it could end what the former secret cannot
    assert people.who(new) is not None
    assert people.who(old) is not None
    (mine,) = [one for one in keys.list_keys(people.store, root.user_id) if one["rotated_from"] == row["id"]]
    keys.revoke_key(people.store, people.clock, former, mine["id"])
    assert people.who(old) is None, "itself it may end"
    assert people.who(new) is not None


def test_a_key_gets_no_other_keys_secret(people: People, ada: Principal, root: Principal) -> None:
    acting, _, own = people.make(ada, scopes=sorted(ada.permissions), expires_in_days=1)
    _, _, other = people.make(ada)
    _, _, child = people.make(acting)
    with pytest.raises(Denied, match="not made with"):
        keys.rotate(people.store, people.clock, acting, other["id"])
    for within in (own, child):
        keys.rotate(people.store, people.clock, acting, within["id"])
    manager, _, _ = people.make(root, scopes=["keys:manage"])
    with pytest.raises(Denied, match="does not have"):
        keys.rotate(people.store, people.clock, manager, other["id"])
    bob = people.add("bob", "api_user")
    with pytest.raises(NotFound):
        keys.rotate(people.store, people.clock, bob, other["id"])
    narrow, _, _ = people.make(ada)
    with pytest.raises(NotFound):
        keys.rotate(people.store, people.clock, narrow, other["id"])


def test_a_key_that_manages_keys_gives_none_more_than_it_has(people: People, ada: Principal, root: Principal) -> None:
    """Itself or another, by change or by rotation; what it may do is done within its own bounds."""
    told = {"models": ["claude-*"], "project": "alpha", "locked": ["project"], "expires_in_days": 10}
    acting, _, own = people.make(root, scopes=sorted(PERMISSIONS), **told)
    _, _, free = people.make(ada)
    _, _, bound = people.make(ada, **{**told, "expires_in_days": 5})
    do: Callable[..., dict[str, Any]] = lambda row, **told: keys.change(  # noqa: E731 - short for many lines
        people.store, people.clock, acting, row["id"], KeyChange(**told)
    )
    for row in (own, bound):
        for wider in (
            {"models": None}, {"models": ["gpt-4o"]}, {"expires_at": None}, {"expires_at": NOON + timedelta(11)},
            {"locked": []}, {"project": "beta"}, {"project": None},
        ):  # fmt: skip
            with pytest.raises(Denied):
                do(row, **wider)
    with pytest.raises(Denied, match="lives longer"):
        keys.rotate(people.store, people.clock, root_key(people, root, expires_in_days=1), bound["id"])
    for field, kept in {"models": ["gpt-*"], "project": "beta", "locked": []}.items():
        _, _, other = people.make(ada, **{**told, "expires_in_days": 5, field: kept})
        with pytest.raises(Denied):
            keys.rotate(people.store, people.clock, acting, other["id"])
    with pytest.raises(Denied):
        keys.rotate(people.store, people.clock, acting, free["id"])
    assert do(bound, expires_at=NOON + timedelta(9))["expires_at"] == NOON + timedelta(9)
    assert do(free, models=["gpt-*"], expires_at=NOON + timedelta(30))["models"] == ["gpt-*"], "that takes away"
    keys.rotate(people.store, people.clock, acting, bound["id"])
    keys.rotate(people.store, people.clock, acting, own["id"])
    assert do(own, models=["claude-haiku-*"], expires_at=NOON + timedelta(3))["models"] == ["claude-haiku-*"]


def root_key(people: People, root: Principal, **told: Any) -> Principal:
    return people.make(root, scopes=sorted(PERMISSIONS), **told)[0]


def test_nobody_gets_a_key_that_sees_more_calls_than_oneself(people: People, ada: Principal, root: Principal) -> None:
    narrow = replace(root, view="team")
    with pytest.raises(Denied, match="show all calls"):
        people.make(narrow, user_id=ada.user_id)
    _, _, row = people.make(ada)
    with pytest.raises(Denied, match="show all calls"):
        keys.rotate(people.store, people.clock, narrow, row["id"])
    lesser, _, _ = people.make(root, scopes=sorted(PERMISSIONS))
    with people.store.begin() as connection:
        mine = tables.role_grants.c.user_id == root.user_id
        connection.execute(sa.update(tables.role_grants).where(mine).values(scope="team"))
    made, _, _ = people.make(replace(lesser, view="team"), user_id=ada.user_id)
    assert made.view == "team", "what a key makes sees no more than it"


def test_a_key_that_may_do_less_than_its_user_has_no_hand_in_the_others(people: People, ada: Principal) -> None:
    narrow, _, own = people.make(ada)
    _, _, child = people.make(narrow)
    _, _, sibling = people.make(ada)
    whole, _, _ = people.make(ada, scopes=sorted(ada.permissions))
    assert (narrow.narrow, whole.narrow, ada.narrow) == (True, False, False)
    top = keys.sees_below(narrow)
    assert {row["id"] for row in keys.list_keys(people.store, ada.user_id, top=top)} == {own["id"], child["id"]}
    assert keys.sees_below(whole) is None
    do = (people.store, people.clock)
    for row in (own, child):
        assert keys.one(people.store, narrow, row["id"])["id"] == row["id"]
    for hand in (
        lambda who: keys.one(people.store, who, sibling["id"]),
        lambda who: keys.change(*do, who, sibling["id"], KeyChange(name="x")),
        lambda who: keys.revoke_key(*do, who, sibling["id"]),
    ):
        with pytest.raises(NotFound):
            hand(narrow)
        hand(whole)


@pytest.mark.parametrize(("scopes", "leads"), [(None, ()), (sorted(ROLES["viewer"]), ("search",))])
def test_leading_a_team_is_no_right_of_a_narrow_key(
    people: People, scopes: list[str] | None, leads: tuple[str, ...]
) -> None:
    lead = people.add("lea", "viewer", teams=("search",), leads=True)
    narrowest = ["analytics:view"]
    key, _, _ = people.make(lead, scopes=scopes or narrowest)
    assert (key.teams, key.leads) == (("search",), leads)
    member = people.add("mia", "api_user", teams=("search",))
    _, _, booked = people.make(member, team="search")
    _, _, loose = people.make(member)
    if leads:
        assert keys.one(people.store, key, booked["id"])["id"] == booked["id"]
    else:
        with pytest.raises(NotFound):
            keys.one(people.store, key, booked["id"])
    for who in (lead, key):
        with pytest.raises(NotFound):
            keys.one(people.store, who, loose["id"])


def test_keys_are_listed_by_user_team_state_and_page(people: People, ada: Principal, root: Principal) -> None:
    names = ["a", "b", "c", "d"]
    rows = {}
    for name in names:
        people.clock.advance(1)
        _, _, rows[name] = people.make(ada, name=name, team="search" if name == "a" else None)
    keys.revoke_key(people.store, people.clock, ada, rows["b"]["id"])
    keys.change(people.store, people.clock, ada, rows["c"]["id"], KeyChange(expires_at=people.clock.now()))
    people.make(root, name="r")
    listed: Callable[..., list[str]] = lambda *user, **told: [  # noqa: E731 - short for many lines
        row["name"] for row in keys.list_keys(people.store, *user, **told)
    ]
    now = people.clock.now()
    assert listed(ada.user_id) == ["d", "c", "b", "a"]
    assert set(listed()) == {*names, "r"}
    assert listed(ada.user_id, live_at=now) == ["d", "a"]
    assert listed(ada.user_id, ended_at=now) == ["c", "b"]
    assert listed(team="search") == ["a"], "a key that names no team is none of a lead's business"
    assert listed(team="finance") == []
    place = (rows["c"]["created_at"], rows["c"]["id"])
    assert listed(ada.user_id, before=place, limit=1) == ["b"]
    lead = people.add("lea", "viewer", teams=("search",), leads=True)
    assert keys.one(people.store, lead, rows["a"]["id"])["name"] == "a"
    stranger = people.add("bob", "viewer", teams=("search",))
    with pytest.raises(NotFound):
        keys.one(people.store, stranger, rows["a"]["id"])


@pytest.mark.parametrize(
    ("wide", "narrow", "both"),
    [
        (None, None, None),
        (None, ["a"], ("a",)),
        (["a*"], None, ("a*",)),
        (["a*"], ["ab*", "b"], ("ab*",)),
        (["a", "b"], ["c"], ()),
        (["*"], ["x", "y*"], ("x", "y*")),
        ([], None, ()),
    ],
)
def test_lists_of_models_meet(wide: list[str] | None, narrow: list[str] | None, both: tuple[str, ...] | None) -> None:
    assert models.meet(wide, narrow) == both
    assert models.meet(narrow, wide) == both

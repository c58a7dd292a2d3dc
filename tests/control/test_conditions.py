"""ETags and If-Match: what was read is told again in a word, and what has changed meanwhile is not overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct

from proxy_server.control import conditions
from proxy_server.control.answers import Caller, Nothing
from proxy_server.control.router import PUBLIC, Route
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.alone import Alone
from ultimate_lib.access import changes
from ultimate_lib.errors import Invalid, NotFound
from ultimate_lib.workbench import Workbench


class Thing(Struct):
    id: str
    text: str
    version: int


class Which(Struct):
    id: str


class Change(Struct):
    id: str
    text: str


class Things(Struct):
    things: list[Thing]


class Plain(Struct):
    version: str


KEPT: dict[str, Thing] = {}


def one(_: Workbench, __: Caller, told: Which) -> Thing:
    if told.id not in KEPT:
        raise NotFound("There is none.")
    return KEPT[told.id]


def change(bench: Workbench, caller: Caller, told: Change) -> Thing:
    thing = one(bench, caller, Which(told.id))
    changes.expect(caller.version, {"version": thing.version})
    KEPT[told.id] = Thing(told.id, told.text, thing.version + 1)
    return KEPT[told.id]


def remove(bench: Workbench, caller: Caller, told: Which) -> dict[str, str]:
    changes.expect(caller.version, {"version": one(bench, caller, told).version})
    del KEPT[told.id]
    return {"id": told.id}


def listed(*_: object) -> Things:
    return Things(list(KEPT.values()))


def text(*_: object) -> Plain:
    return Plain("1.0")


THINGS = (
    Route("GET", "/api/things", listed, PUBLIC, "All.", "", gives=Things),
    Route("GET", "/api/things/{id}", one, PUBLIC, "One.", "", takes=Which, gives=Thing, also=("/api/dinge/{id}",)),
    Route("PATCH", "/api/things/{id}", change, PUBLIC, "Change.", "", takes=Change, gives=Thing),
    Route("PUT", "/api/things/{id}/text", change, PUBLIC, "Change.", "", takes=Change, gives=Thing),
    Route("DELETE", "/api/things/{id}", remove, PUBLIC, "End.", "", takes=Which, gives=dict[str, str]),
    Route("GET", "/api/plain", text, PUBLIC, "A version that is text.", "", gives=Plain),
    Route("PUT", "/api/plain", text, PUBLIC, "Unversioned.", "{}", takes=Nothing, gives=Plain),
)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("control"), table=THINGS) as running:
        yield running


@pytest.fixture(autouse=True)
def things() -> None:
    KEPT.clear()
    KEPT["a"] = Thing("a", "first", 3)


def patch(control: Alone, match: str | None, path: str = "/api/things/a", method: str = "PATCH") -> Any:
    headers = {} if match is None else {"If-Match": match}
    told = None if method == "DELETE" else {"text": "next"}
    return control.ask(method, path, headers=headers, told=told)


def test_an_object_has_its_version_and_a_mark_of_its_content_as_etag(control: Alone) -> None:
    etag = control.get("/api/things/a").headers["ETag"]
    assert re.fullmatch(r'"v3-[0-9a-f]{16}"', etag)
    for match in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = control.get("/api/things/a", headers={"If-None-Match": match})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag), match
    for match in ('"v2"', '"v3"', etag.strip('"'), etag.upper()):
        assert control.get("/api/things/a", headers={"If-None-Match": match}).status == 200, match
    assert control.ask("HEAD", "/api/things/a").headers["ETag"] == etag
    changed = patch(control, etag).headers["ETag"]
    assert changed.startswith('"v4-')
    assert control.get("/api/things/a").headers["ETag"] == changed, "what a change answers is what a read would"


def test_what_changes_without_the_version_is_told_anew_and_stands_in_no_changes_way(control: Alone) -> None:
    before = control.get("/api/things/a").headers["ETag"]
    KEPT["a"] = Thing("a", "signed in since", 3)
    again = control.get("/api/things/a", headers={"If-None-Match": before})
    assert (again.status, again.json["text"]) == (200, "signed in since")
    assert patch(control, before).status == 200


def test_lists_and_versions_that_are_text_go_by_content(control: Alone) -> None:
    before = control.get("/api/things").headers["ETag"]
    assert len(before) > 20
    assert control.get("/api/things", headers={"If-None-Match": before}).status == 304
    patch(control, None)
    assert control.get("/api/things", headers={"If-None-Match": before}).status == 200
    assert len(control.get("/api/plain").headers["ETag"]) > 20


@pytest.mark.parametrize("match", [None, "*", " * ", '"v3"', '"v2", "v3"', '"v2","v3",', ', "v3"', 'W/"v3", "v3"'])
@pytest.mark.parametrize("way", [("PATCH", ""), ("PUT", "/text"), ("DELETE", "")])
def test_a_change_that_may_be(control: Alone, match: str | None, way: tuple[str, str]) -> None:
    reply = patch(control, match, f"/api/things/a{way[1]}", way[0])
    assert reply.status == 200, reply.text
    assert ("a" not in KEPT) if way[0] == "DELETE" else KEPT["a"] == Thing("a", "next", 4)


@pytest.mark.parametrize(
    "match",
    ['"v2"', '"v4"', 'W/"v3"', '"other"', '"v03"', '"v3-"', '"v3-00"', '"v2", W/"v3", "x"', '""', '"v3 "'],
)
@pytest.mark.parametrize("way", [("PATCH", ""), ("PUT", "/text"), ("DELETE", "")])
def test_a_change_of_what_has_changed(control: Alone, match: str, way: tuple[str, str]) -> None:
    reply = patch(control, match, f"/api/things/a{way[1]}", way[0])
    refused = (400, "if_match") if match == '"v3 "' else (412, "changed")  # no entity tag has a space in it
    assert (reply.status, reply.json["error"]["code"]) == refused
    assert "-1" not in reply.json["error"]["message"]
    assert {"a": Thing("a", "first", 3)} == KEPT


@pytest.mark.parametrize(
    "match", ["", "v3", '"v3', '"v3" "v4"', "*, *", '*, "v3"', "w/" + '"v3"', ",".join(['"x"'] * 11)]
)
def test_what_is_no_list_of_tags_is_refused(control: Alone, match: str) -> None:
    reply = patch(control, match)
    assert (reply.status, reply.json["error"]["code"]) == (400, "if_match")
    assert {"a": Thing("a", "first", 3)} == KEPT


def test_a_condition_on_what_is_gone_or_has_no_versions(control: Alone) -> None:
    assert patch(control, '"v3"', "/api/things/b").status == 404
    reply = control.ask("PUT", "/api/plain", headers={"If-Match": '"v1"'}, told={})
    assert (reply.status, reply.json["error"]["code"]) == (400, "if_match"), "never silently ignored"
    assert control.get("/api/things", headers={"If-Match": "nonsense"}).status == 200, "a read has no condition"


def test_two_who_change_the_same_thing(control: Alone) -> None:
    seen = control.get("/api/things/a").headers["ETag"]
    assert [patch(control, seen).status for _ in range(2)] == [200, 412]


def test_long_headers_are_read_in_no_time() -> None:
    for header in ('"a",' * 20_000, "," * 60_000, '"v1" ' * 10_000, 'W/"' * 20_000):
        with pytest.raises(Invalid):
            conditions.versions(header)


def test_which_rows_take_a_version() -> None:
    paths = conditions.versioned(THINGS)
    assert paths == {"/api/things/{id}", "/api/dinge/{id}"}
    taking = {(route.method, route.path) for route in THINGS if conditions.takes_version(route, paths)}
    assert taking == {
        ("PATCH", "/api/things/{id}"), ("PUT", "/api/things/{id}/text"), ("DELETE", "/api/things/{id}"),
    }  # fmt: skip
    assert conditions.versioned(TABLE) >= set()

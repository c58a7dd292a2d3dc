"""The guard over REST and as a page: what each may see and change, and what it says of calls that were recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.control import alone, calls
from tests.control.calls import call
from tests.control.test_pages_of_people import shown
from tests.gateway.guarded import DAY_US, usual
from ultimate_lib.access import cooldowns, keys
from ultimate_lib.clock import to_us
from ultimate_lib.guard import known
from ultimate_lib.guard.events import Event, EventLog
from ultimate_lib.lake.ingest import run_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.control.alone import Alone

MODEL = "lab/gpt-4o-mini"


class Guarded:
    """Control, an administrator's key and one of ann's, and what is known of both."""

    def __init__(self, control: Alone) -> None:
        self.control = control
        self.ann = control.add_user("ann", "viewer", "api_user")
        with control.bench.store.begin() as connection:  # she sees her own calls alone
            connection.exec_driver_sql("UPDATE role_grants SET scope = 'own' WHERE user_id = 'user_ann'")
        self.own = self.id_of(control.key)
        self.anns = self.id_of(self.ann)
        self.log = EventLog(control.bench.settings.run_dir)

    def id_of(self, key: str) -> str:
        return str(self.control.get("/api/auth/verify", key=key).json["key_id"])

    def get(self, query: str = "", **more: Any) -> dict[str, Any]:
        reply = self.control.get(f"/api/predictive/guard{query}", **more)
        assert reply.status == 200, reply.text
        found: dict[str, Any] = reply.json
        return found

    def send(self, method: str, path: str, told: Any, key: str | None = None) -> Any:
        return self.control.ask(method, f"/api/predictive/guard/{path}", key=key or self.control.key, told=told)

    def cool_down(self, key_id: str, minutes: int = 5) -> str:
        """Let three anomalies begin a cool-down some minutes ago; return its id."""
        now_us = self.control.bench.clock.now_us()
        for number in range(3):
            at = now_us - (minutes * 60 + 3 - number) * 1_000_000
            told = {"call_id": f"{key_id}{at}", "started_us": at - 1, "cost_usd": 0.6, "usual_usd": 0.002}
            self.log.append(Event(key_id=key_id, model=MODEL, at_us=at, **told))  # type: ignore[arg-type]
        return cooldowns.id_of(key_id, MODEL)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with alone.start(tmp_path) as control:
        made = Guarded(control)
        now, run = control.bench.clock.now(), control.bench.settings.run_dir
        young = usual(made.anns, model=MODEL, ripe=False)
        young = type(young)(**{
            **{name: getattr(young, name) for name in young.__struct_fields__},
            "first_us": to_us(now) - 9 * DAY_US - 5, "calls": 200, "made": 230,
        })  # fmt: skip
        about = known.About(made_us=to_us(now), after_days=14, after_calls=500)
        known.write(run, about, [usual(made.own, model=MODEL), young])
        rows = [
            call(
                now - timedelta(hours=2) + timedelta(minutes=minute), key_id=made.own, model_routed=MODEL,
                cost_nano_usd=600_000_000 if minute < 3 else 1_000_000, anomaly_score=9.0 if minute < 3 else 1.0,
                anomaly_action="warn" if minute < 3 else "block",
            )
            for minute in range(8)
        ]  # fmt: skip
        calls.write(control.bench.settings, *rows)
        run_once(control.bench.lake)
        yield made


def test_it_tells_what_is_usual_and_what_it_would_have_done(guarded: Guarded) -> None:
    told = guarded.get()
    assert told["rule"]["action"] == "observe"
    assert told["rule"]["max_call_usd"] is None
    pairs = {one["key_id"]: one for one in told["pairs"]}
    own = pairs[guarded.own]
    assert own["ripe"]
    assert own["model"] == MODEL
    assert (own["anomalies_7d"], own["anomalies_30d"], own["blocked"], own["marked"]) == (3, 3, 0, 5)
    assert (own["would_have_blocked"], own["would_have_cooled_down"]) == (5, 1)
    assert own["would_have_blocked_usd"] == pytest.approx(0.005)
    anns = pairs[guarded.anns]
    assert (anns["ripe"], anns["days"], anns["calls"], anns["calls_so_far"]) == (False, 9, 200, 230)
    assert (anns["would_have_blocked"], anns["would_have_blocked_usd"]) == (0, 0.0)
    assert [one["key_id"] for one in guarded.get(f"?key={guarded.anns}")["pairs"]] == [guarded.anns]


def test_each_sees_their_own_keys_alone(guarded: Guarded) -> None:
    told = guarded.get(key=guarded.ann)
    assert {one["key_id"] for one in told["pairs"]} == {guarded.anns}
    assert [one["id"] for one in told["keys"]] == [guarded.anns]
    assert guarded.get(f"?key={guarded.own}", key=guarded.ann)["pairs"] == []


def test_who_manages_settings_says_what_a_key_does_and_the_audit_tells(guarded: Guarded) -> None:
    reply = guarded.send("PUT", guarded.anns, {"action": "block"})
    assert (reply.status, reply.json["in_force"]) == (200, "block")
    keys_told = {one["id"]: one for one in guarded.get()["keys"]}
    assert (keys_told[guarded.anns]["action"], keys_told[guarded.own]["in_force"]) == ("block", "observe")
    assert guarded.control.get(f"/api/keys/{guarded.anns}").json["guard"] == "block"
    (last,) = guarded.control.get("/api/audit?limit=1").json["audit"]
    assert (last["action"], last["object"]) == ("key.change", guarded.anns)
    assert (last["before"], last["after"]) == ({"guard": None}, {"guard": "block"})
    assert guarded.send("PUT", guarded.anns, {}).status == 400, "a block is lifted by who says nothing"
    assert guarded.control.get(f"/api/keys/{guarded.anns}").json["guard"] == "block"
    assert guarded.send("PUT", guarded.anns, {"action": None}).json["action"] is None
    assert guarded.send("PUT", guarded.anns, {"action": "explode"}).status == 400
    assert guarded.send("PUT", "key_unknown", {"action": "warn"}).status == 404
    refused = guarded.send("PUT", guarded.anns, {"action": "observe"}, guarded.ann)
    assert refused.status == 403
    own = guarded.control.ask("PATCH", f"/api/keys/{guarded.anns}", key=guarded.ann, told={"guard": "observe"})
    assert own.status == 403
    assert "settings:manage" in own.text


def test_a_key_goes_by_the_one_above_it_unless_it_says_otherwise(guarded: Guarded) -> None:
    store, clock = guarded.control.bench.store, guarded.control.bench.clock
    admin = keys.KeyCache(store, clock).lookup(guarded.control.key)
    assert admin is not None
    made = {"name": "agent", "scopes": ["proxy:call"]}
    maker, above = keys.create_key(store, clock, admin, name="above", scopes=["proxy:call"], guard="block")
    child = guarded.control.ask("POST", "/api/keys", key=maker, told=made).json
    assert keys.KeyCache(store, clock).lookup(child["key"]).guard == "block"  # type: ignore[union-attr] # it is there
    told = {one["id"]: one for one in guarded.get()["keys"]}
    assert (told[child["about"]["id"]]["action"], told[child["about"]["id"]]["in_force"]) == (None, "block")
    child_id = child["about"]["id"]
    assert guarded.get(f"?key={child_id}")["keys"][0]["in_force"] == "block", "the key above it is not in the answer"
    assert guarded.send("PUT", child_id, {"action": None}).json["in_force"] == "block"
    free = guarded.control.ask("POST", "/api/keys", key=maker, told={**made, "guard": "observe"})
    assert free.status == 403, "a key frees what it makes"
    guarded.send("PUT", child["about"]["id"], {"action": "warn"})
    assert keys.KeyCache(store, clock).lookup(child["key"]).guard == "warn"  # type: ignore[union-attr] # it is there
    assert above["guard"] == "block"


def test_a_cool_down_is_told_and_ended_once(guarded: Guarded) -> None:
    name = guarded.cool_down(guarded.own)
    (first, *_) = guarded.get()["pairs"]
    assert first["cooldown"]["id"] == name
    assert first["cooldown"]["cost_usd"] == 0.6
    assert guarded.send("POST", f"cooldowns/{name}/end", {}, guarded.ann).status == 403
    reply = guarded.send("POST", f"cooldowns/{name}/end", {})
    assert (reply.status, reply.json["model"]) == (200, MODEL)
    assert guarded.get()["pairs"][0]["cooldown"] is None
    assert guarded.send("POST", f"cooldowns/{name}/end", {}).status == 404
    assert guarded.log.read()[1][-1].by
    audited = guarded.control.get("/api/audit?limit=5").json["audit"]
    assert ("guard.end", guarded.own) in [(row["action"], row["object"]) for row in audited]


def test_calls_without_a_price_and_a_single_call_are_told_as_such(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        key_id, now = control.get("/api/auth/verify").json["key_id"], control.bench.clock.now()
        rows = []
        for model, many in (("local", 0), ("once", 1)):
            one = usual(key_id, model=model, ripe=False)
            told = {name: getattr(one, name) for name in one.__struct_fields__}
            rows.append(type(one)(**(told | {"calls": many, "first_us": to_us(now) - DAY_US - 5})))
        known.write(
            control.bench.settings.run_dir, known.About(made_us=to_us(now), after_days=14, after_calls=500), rows
        )
        text = shown(control, "/guard")
        assert "no call of a known price" in text
        assert "0 of 500 calls" not in text
        assert "1 call, 1 day" in text


def test_calls_are_accepted_as_usual_seen_and_taken_back(guarded: Guarded) -> None:
    guarded.cool_down(guarded.own)
    path, now = f"{guarded.own}/accept", guarded.control.bench.clock.now()
    assert guarded.send("POST", path, {"model": MODEL}, guarded.ann).status == 403
    assert guarded.send("POST", path, {"model": "another"}).status == 404
    for since in (now + timedelta(hours=1), now - timedelta(days=31)):
        refused = guarded.send("POST", path, {"model": MODEL, "since": since.isoformat()})
        assert (refused.status, refused.json["error"]["code"]) == (400, "since")
    assert guarded.send("POST", path, {"model": MODEL, "since": "2026-03-01T00:00:00"}).status == 400
    assert guarded.get()["pairs"][0]["cooldown"] is not None
    assert "Accept as usual" in shown(guarded.control, "/guard")
    reply = guarded.send("POST", path, {"model": MODEL})
    assert (reply.status, reply.json["learnt"]) == (200, False)
    own = next(one for one in guarded.get()["pairs"] if one["key_id"] == guarded.own)
    assert own["cooldown"] is None
    assert (own["accepted"]["by"], own["accepted"]["at"]) == (reply.json["by"], reply.json["at"])
    assert (own["anomalies_30d"], own["would_have_blocked"]) == (3, 0), "what was accepted would begin no cool-down"
    assert "accepted as usual by" in shown(guarded.control, "/guard")
    assert "not learnt from yet" in shown(guarded.control, "/guard")
    audited = guarded.control.get("/api/audit?limit=5").json["audit"]
    (row,) = [row for row in audited if row["action"] == "guard.accept"]
    assert (row["object"], row["after"]["model"]) == (guarded.own, MODEL)
    later = guarded.control.bench.clock.now()
    assert guarded.send("POST", path, {"model": MODEL, "since": later.isoformat()}).status == 200
    own = next(one for one in guarded.get()["pairs"] if one["key_id"] == guarded.own)
    assert own["would_have_blocked"] == 5, "taken back"


def test_what_is_not_known_is_told_as_such(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        told = control.get("/api/predictive/guard").json
        assert (told["learnt_at"], told["failure"], told["pairs"], told["found"]) == (None, None, [], 0)
        assert "Not looked yet. The worker learns" in shown(control, "/guard")
        run = control.bench.settings.run_dir
        run.mkdir(exist_ok=True)
        known.path(run).write_bytes(b"torn")
        assert "cannot be read" in control.get("/api/predictive/guard").json["failure"]
        assert "What is usual cannot be told now." in shown(control, "/guard")
    with alone.start(tmp_path / "off", **{"guard.enabled": False}) as control:
        assert "The guard is off." in shown(control, "/guard")


def test_learnt_before_these_calls_is_told_apart_from_no_calls(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        now, settings = control.bench.clock.now(), control.bench.settings
        known.write(settings.run_dir, known.About(made_us=to_us(now), version=-1, after_days=14, after_calls=500), [])
        assert control.get("/api/predictive/guard").json["behind"] is False
        assert "No calls yet. When the worker looked last" in shown(control, "/guard")
        calls.write(settings, call(now - timedelta(minutes=1)))
        run_once(control.bench.lake)
        assert control.get("/api/predictive/guard").json["behind"] is True
        text = shown(control, "/guard")
        assert "Not learnt yet. The worker looked last at" in text
        assert "No calls yet" not in text


def test_the_demos_made_up_keys_are_shown_and_cannot_be_set(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"data.demo": True}) as control:
        ann = control.add_user("ann", "api_user")
        now, run = control.bench.clock.now(), control.bench.settings.run_dir
        known.write(
            run,
            known.About(made_us=to_us(now), after_days=14, after_calls=500),
            [usual("key_maya_laptop", model=MODEL), usual("key_of_nobody", model=MODEL)],
        )
        told = control.get("/api/predictive/guard").json
        assert [one["key_id"] for one in told["pairs"]] == ["key_maya_laptop"]
        assert "key_maya_laptop" not in [one["id"] for one in told["keys"]]
        assert "key_maya_laptop made up (demo)" in shown(control, "/guard")
        assert control.get("/api/predictive/guard?key=key_maya_laptop").json["found"] == 1
        assert control.get("/api/predictive/guard", key=ann).status in {200, 403}
        assert "key_maya_laptop" not in control.get("/api/predictive/guard", key=ann).text


def test_the_page_says_it_in_words_and_asks_before_it_blocks(guarded: Guarded) -> None:
    guarded.cool_down(guarded.own)
    text = shown(guarded.control, "/guard")
    assert "observing: 9 of 14 days, 230 of 500 calls" in text
    assert "5 calls ($0.005)" in text
    assert "a call cost $0.60, usual is at most $0.002" in text
    page = guarded.control.get("/guard").text
    assert "In the last 30 days its cool-downs would have refused 5 calls ($0.005)" in page
    assert "marked at the door, mostly" not in page
    assert "A cool-down is under way: calls are refused from now on." in page
    assert f"/api/predictive/guard/{guarded.own}" in page
    others = guarded.control.get("/guard", key=guarded.ann).text
    assert "/api/predictive/guard/" not in others
    assert guarded.own not in others
    assert "No key and model matches." in shown(guarded.control, "/guard?q=zebra")
    at = guarded.control.bench.clock.now() - timedelta(days=2)
    calls.write(
        guarded.control.bench.settings,
        call(at, key_id=guarded.own, model_routed=MODEL, anomaly_score=1.0, anomaly_action="block"),
    )
    run_once(guarded.control.bench.lake)
    assert "at the door: 1 marked" in shown(guarded.control, "/guard")
    page = guarded.control.get("/guard").text
    assert "would have refused 5 calls ($0.005)" in page, "an input is counted apart"
    assert "Apart from those, 1 call was marked at the door, mostly for the input." in page


def test_the_page_of_keys_offers_the_guard_to_who_manages_settings(guarded: Guarded) -> None:
    assert 'name="guard"' in guarded.control.get("/admin/keys").text
    assert 'name="guard"' not in guarded.control.get("/admin/keys", key=guarded.ann).text
    told = {"name": "blocked", "scopes": ["proxy:call"], "guard": "block"}
    assert guarded.control.ask("POST", "/api/keys", key=guarded.control.key, told=told).status == 201
    assert "guard: block" in guarded.control.get("/admin/keys").text

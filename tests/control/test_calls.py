"""One call over REST: every column, why this price; another's call is not there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.control import alone, calls
from tests.control.alone import Alone
from tests.control.calls import call
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.records import COLUMNS

DAY = datetime(2026, 3, 10, 23, 59, 59, 999_500, tzinfo=UTC)
PRICED = {
    "provider": "openai", "model_served": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 20,
    "cost_nano_usd": 162_000, "usage_source": "provider", "input_cost_nano_usd": 150_000,
    "cache_read_cost_nano_usd": 0, "cache_write_cost_nano_usd": 0,
    "output_cost_nano_usd": 12_000, "other_cost_nano_usd": 0, "cost_source": "table",
    "price_id": "openai/gpt-4o-mini@listed",
}  # fmt: skip


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


@pytest.mark.parametrize("committed", [False, True])
def test_a_call_has_every_column_and_its_price(control: Alone, committed: bool) -> None:
    record = call(DAY, **PRICED, tags=["a=b"], overhead_ms=1.5)
    others = [call(DAY + timedelta(milliseconds=ms)) for ms in (-2, -1, 0, 1, 2)]
    calls.write(control.bench.settings, *others, record)
    if committed:
        run_once(control.bench.lake)
    told = control.get(f"/api/calls/{record.call_id}")
    assert told.status == 200, told.text
    row, price = told.json["call"], told.json["price"]
    assert list(row) == [column.name for column in COLUMNS]
    assert (row["call_id"], row["input_tokens"], row["tags"]) == (record.call_id, 1000, ["a=b"])
    assert datetime.fromisoformat(row["started_at"]) == DAY
    assert row["notebook"] is None
    assert [(line["what"], line["tokens"], line["usd_per_million"]) for line in price["lines"]] == [
        ("input", 1000, 0.15), ("output", 20, 0.6),
    ]  # fmt: skip
    assert sum(line["cost_nano_usd"] for line in price["lines"]) == price["total_nano_usd"] == 162_000
    assert (price["price_id"], price["source"]) == ("openai/gpt-4o-mini@listed", "table")
    assert "gpt-4o-mini" in price["sentence"]


def test_an_unpriced_call_says_why(control: Alone) -> None:
    record = call(DAY, provider="openai", model_served="nobody-knows", cost_nano_usd=None, usage_source="provider")
    calls.write(control.bench.settings, record)
    price = control.get(f"/api/calls/{record.call_id}").json["price"]
    assert (price["lines"], price["total_nano_usd"]) == ([], None)
    assert "'nobody-knows'" in price["sentence"]


@pytest.mark.parametrize(
    "spelt",
    [
        "0197f3b8-2d6a-7000-8000-000000000000", "00000000-0000-7000-8000-000000000000", "x", "a" * 200,
        "ffffffff-ffff-7fff-bfff-ffffffffffff", "0197f3b8-2d6a-4000-8000-000000000000",
        "0197F3B8-2D6A-7000-8000-000000000000", "0197f3b82d6a70008000000000000000",
    ],
)  # fmt: skip
def test_an_id_that_is_none_or_unknown_is_not_found(control: Alone, spelt: str) -> None:
    calls.write(control.bench.settings, call(DAY))
    reply = control.get(f"/api/calls/{spelt}")
    assert (reply.status, reply.json["error"]["code"]) == (404, "call_unknown")


def test_parameters_that_there_are_not_are_refused(control: Alone) -> None:
    assert control.get("/api/calls/x?verbose=1").status == 400


def test_another_users_call_is_not_there_for_who_sees_only_its_own(control: Alone) -> None:
    ann, ben, viewer = (
        control.add_user(name, role) for name, role in (("ann", "api_user"), ("ben", "api_user"), ("vic", "viewer"))
    )
    of_ann, of_ben = call(DAY, user_id="user_ann"), call(DAY, user_id="user_ben")
    calls.write(control.bench.settings, of_ann, of_ben)
    for key, own, other in ((ann, of_ann, of_ben), (ben, of_ben, of_ann)):
        assert control.get(f"/api/calls/{own.call_id}", key=key).status == 200
        hidden = control.get(f"/api/calls/{other.call_id}", key=key)
        unknown = control.get("/api/calls/0197f3b8-2d6a-7000-8000-000000000000", key=key)
        assert hidden.status == unknown.status == 404
        assert hidden.json["error"]["message"].replace(other.call_id, "") == unknown.json["error"]["message"].replace(
            "0197f3b8-2d6a-7000-8000-000000000000", ""
        )
    assert control.get(f"/api/calls/{of_ann.call_id}", key=viewer).status == 200
    assert control.ask("GET", f"/api/calls/{of_ann.call_id}").status == 401


def test_a_damaged_file_is_told_and_no_call_denied(control: Alone, tmp_path: Path) -> None:
    record = call(DAY)
    calls.write(control.bench.settings, record)
    run_once(control.bench.lake)
    for file in (tmp_path / "lake/calls").rglob("*.parquet"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    reply = control.get(f"/api/calls/{record.call_id}")
    assert (reply.status, reply.json["error"]["code"]) == (500, "lake_file")


def test_the_version_is_public(control: Alone) -> None:
    reply = control.ask("GET", "/api/version")
    assert reply.json == {"version": "0.1.0", "api": 1, "demo": False}

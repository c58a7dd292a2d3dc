"""docs/rbac.md says what roles.py says; the server's own command looks through the audit."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from proxy_server.__main__ import main
from tests.access.folk import person
from tests.harness import ROOT
from ultimate_lib.access import audits, delays, local, passwords, refusals, sessions, users
from ultimate_lib.access.roles import GRANTABLE, PERMISSIONS
from ultimate_lib.clock import SteppedClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store, tables

TEXT = (ROOT / "docs" / "rbac.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_roles() -> None:
    head = re.search(r"^\| permission \| what it allows \| (.+) \|$", TEXT, re.MULTILINE)
    assert head is not None
    assert head[1].split(" | ") == list(GRANTABLE)
    rows = re.findall(r"^\| `(\w+:\w+)` \| ([^|]+) \| (.*) \|$", TEXT, re.MULTILINE)
    assert [(name, sentence) for name, sentence, _ in rows] == list(PERMISSIONS.items())
    for name, _, marks in rows:
        given = [mark.strip() == "✓" for mark in marks.split("|")]
        assert given == [name in held for held in GRANTABLE.values()], name


def test_its_figures_are_those_of_the_code() -> None:
    assert f"{passwords.SHORTEST} to {passwords.LONGEST} characters" in " ".join(TEXT.split())
    assert (delays.FREE_FAILURES, delays.FREE_OF_ADDRESS, delays.FREE_OF_NAME) == (5, 30, 20)
    assert (delays.NAME_S, delays.KNOWN.days) == (3.0, 30)
    text = " ".join(TEXT.split())
    for figure in ("five failures", "thirty failures", "three seconds after twenty failures", "within 30 days"):
        assert figure in text
    assert (refusals.OF_ADDRESS, refusals.OF_ADDRESS_EVERY_S, refusals.OF_ALL_EVERY_S) == (20, 60, 10)
    assert f"{refusals.OF_ALL:,} and then one in ten seconds" in TEXT


def test_the_servers_command_tells_whether_the_audit_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(environ={}, overrides={"data.folder": str(tmp_path)})
    store, clock = Store(settings.store_url), SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    store.migrate()
    root = person(store, clock, "root", admin="all")
    for number in range(3):
        users.create(store, clock, root, name=f"u{number}", roles={})
    assert main(["audit", "verify", "--data", str(tmp_path)]) == 0
    assert "3 rows" in capsys.readouterr().out
    with store.begin() as connection:
        connection.execute(sa.update(tables.audit).where(tables.audit.c.number == 2).values(actor="somebody else"))
    store.close()
    assert main(["audit", "verify", "--data", str(tmp_path)]) == 1
    assert "Row 2" in capsys.readouterr().out


def test_the_printed_link_signs_an_administrator_in_when_the_first_one_is_shut_out(tmp_path: Path) -> None:
    settings = load(environ={}, overrides={"data.folder": str(tmp_path)})
    store, clock = Store(settings.store_url), SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    store.migrate()
    first = local.first_start(settings, store, clock)
    eve = person(store, clock, "eve", admin="all", api_user="own")
    users.deactivate(store, clock, eve, first.user_id)
    session = sessions.exchange_link(store, clock, local.first_start(settings, store, clock).link_token)
    assert session is not None
    found = sessions.lookup(store, clock, session)
    assert found is not None
    assert found.user_name == "eve"
    store.close()


def test_what_the_servers_command_makes_is_in_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(environ={}, overrides={"data.folder": str(tmp_path)})
    store, clock = Store(settings.store_url), SteppedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    store.migrate()
    first = local.first_start(settings, store, clock)
    assert main(["link", "--data", str(tmp_path)]) == 0
    link = capsys.readouterr().out
    assert "/login?link=" in link
    eve = person(store, clock, "eve", admin="all")
    made, printed, again = (
        *audits.found(store, eve, {"action": "user.create"}, limit=5),
        *reversed(audits.found(store, eve, {"action": "user.link"}, limit=5)),
    )
    assert {(row["actor"], row["object"]) for row in (made, printed, again)} == {("system", first.user_id)}
    assert made["after"]["roles"] == {"admin": "all", "api_user": "all"}
    assert again["after"]["signs_in"] is True
    assert link.strip().rpartition("=")[2] not in str(again)
    assert audits.verify(store, clock).broken_at is None
    store.close()

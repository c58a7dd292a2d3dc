"""`budgets`: how much may be spent, and how much is."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from claude_proxy import money
from claude_proxy.cli.output import Column
from claude_proxy.cli.parser import Parser, command, group, if_version
from claude_proxy.frames import instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_proxy.cli.session import Session

_STATE = (
    Column("id", "id"),
    Column("of", "of"),
    Column("period", "period"),
    Column("kind", "kind"),
    Column("amount_told", "amount"),
    Column("spent_told", "spent"),
    Column("held_told", "held"),
    Column("left_told", "left"),
    Column("used", "used"),
    Column("expected_told", "by its end"),
    Column("used_up", "used up"),
)
_ID = "bud_6b37d10c8347"


def add(commands: Any) -> None:
    """Add the commands."""
    says = "The budgets that concern one: spent, held, left, and where they will end."
    below = group(command(commands, "budgets", _status, says=says, example="claude-proxy budgets"))
    command(below, "status", _status, says=says, example="claude-proxy budgets status --output json")
    command(
        below, "list", _list, says="The budgets that concern one, as they were set.",
        example="claude-proxy budgets list",
    )  # fmt: skip
    parser = command(below, "show", _show, says="One budget.", example=f"claude-proxy budgets show {_ID}")
    parser.add_argument("id", metavar="ID")
    parser = command(
        below, "create", _create, says="Make a budget, soft unless --hard is given.",
        example="claude-proxy budgets create team search --usd 25 --period month --hard",
    )  # fmt: skip
    parser.add_argument("subject", choices=("global", "key", "user", "team", "project", "tag"))
    parser.add_argument("subject_id", metavar="ID", nargs="?", help="id of a key, name of a user or team, …")
    parser.add_argument("--period", choices=("day", "week", "month", "total"), required=True)
    _add_amount(parser, required=True)
    _add_rest(parser)
    parser = command(
        below, "update", _update, says="Change a budget.", example=f"claude-proxy budgets update {_ID} --usd 50"
    )
    parser.add_argument("id", metavar="ID")
    _add_amount(parser, required=False)
    _add_rest(parser)
    parser.add_argument("--enabled", action=argparse.BooleanOptionalAction)
    if_version(parser)
    parser = command(below, "delete", _delete, says="Remove a budget.", example=f"claude-proxy budgets delete {_ID}")
    parser.add_argument("id", metavar="ID")
    if_version(parser)


def _add_amount(parser: Parser, *, required: bool) -> None:
    amount = parser.add_mutually_exclusive_group(required=required)
    amount.add_argument("--usd", type=_nano_usd, metavar="USD")
    amount.add_argument("--tokens", type=int, metavar="N")


def _add_rest(parser: Parser) -> None:
    parser.add_argument("--name", metavar="NAME")
    parser.add_argument("--hard", action=argparse.BooleanOptionalAction, help="refuse calls that could exceed it")
    parser.add_argument("--when-short", choices=("refuse", "clamp"), help="clamp: give calls less output")
    parser.add_argument("--unpriced", metavar="RULE", help="refuse, allow or price_as:MODEL")


def _nano_usd(text: str) -> int:
    try:
        return money.nano_usd(Decimal(text))
    except (InvalidOperation, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of dollars") from None


def _members(session: Session) -> dict[str, Any]:
    asked = session.arguments
    told = {
        "amount": asked.usd if asked.usd is not None else asked.tokens,
        **{name: getattr(asked, name, None) for name in ("name", "hard", "when_short", "unpriced", "enabled")},
    }
    return {name: value for name, value in told.items() if value is not None}


def _amount(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    return money.exact(value) if row["unit"] == "nano_usd" else f"{value:,} tokens"


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {f"{name}_told": _amount(row, name) for name in ("amount", "spent", "held", "left")}
    ratio, ahead = row.get("used_ratio"), row.get("outlook") or {}
    at, failed = ahead.get("exhausted_at"), row.get("outlook_failed")
    used_up = "" if at is None else f"{instant(at):%Y-%m-%d}, {ahead['probability']:.0%}"
    return {
        **row, **told,
        "expected_told": _amount({**ahead, "unit": row["unit"]}, "expected"),
        "used_up": "cannot be told now" if failed else used_up,
        "of": " ".join(part for part in (row["name"], row["subject"], row["subject_id"]) if part),
        "kind": ("hard" if row["hard"] else "soft") if row["enabled"] else "off",
        "used": "" if ratio is None else f"{ratio:.0%}",
    }  # fmt: skip


def _status(session: Session) -> int:
    told = session.client.budget_status()
    session.output.rows(_STATE, [_shown(row) for row in told], document=told, empty="No budgets.")
    return 0


def _list(session: Session) -> int:
    told = session.client.list_budgets()
    session.output.rows(_STATE[:5], [_shown(row) for row in told], document=told, empty="No budgets.")
    return 0


def _show(session: Session) -> int:
    return _told(session, session.client.get_budget(session.arguments.id))


def _create(session: Session) -> int:
    asked = session.arguments
    members = _members(session)
    unit = "tokens" if asked.tokens is not None else "nano_usd"
    amount = members.pop("amount")
    made = session.client.create_budget(
        asked.subject, amount, asked.period, subject_id=asked.subject_id, unit=unit, **members
    )
    return _told(session, made)


def _update(session: Session) -> int:
    asked = session.arguments
    return _told(session, session.client.update_budget(asked.id, version=asked.if_version, **_members(session)))


def _delete(session: Session) -> int:
    asked = session.arguments
    return _told(session, session.client.delete_budget(asked.id, version=asked.if_version))


def _told(session: Session, answer: Any) -> int:
    session.output.pairs([(name, "", value) for name, value in answer.items()], document=answer)
    return 0

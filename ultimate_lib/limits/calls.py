"""What of a call counts, and under which limits: the same for a record in memory and for its line in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.records import CallRecord

SUBJECTS = ("global", "key", "user", "team", "project", "tag")
UNITS = ("nano_usd", "tokens")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """So much in a period, for a subject. `subject_id` is what the call's column says: a team's or project's name."""

    id: str
    name: str
    subject: str
    subject_id: str
    unit: Literal["nano_usd", "tokens"]
    amount: int
    period: str
    hard: bool
    enabled: bool
    when_short: Literal["refuse", "clamp"] = "refuse"
    hold_wait_s: float | None = None  # None: limits.hold_wait_s
    unpriced: str | None = None  # refuse | allow | price_as:<model>; None: billing.unpriced
    version: int = 1
    subject_name: str = ""  # how people call a key or user, whose subject_id says nothing to them

    @property
    def title(self) -> str:
        """The budget as a message names it."""
        name = self.subject_name or self.subject_id
        whose = "of all" if self.subject == "global" else f"of {self.subject} '{name}'"
        span = "in total" if self.period == "total" else f"a {self.period}"
        return f"'{self.name}'" if self.name else f"{whose} {span}"


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How quickly a subject may call. Null: no limit."""

    id: str
    subject: str
    subject_id: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    version: int = 1
    subject_name: str = ""  # as a budget's

    @property
    def title(self) -> str:
        """The limit's subject as a message names it."""
        return "all calls" if self.subject == "global" else f"{self.subject} '{self.subject_name or self.subject_id}'"


class Counted(msgspec.Struct, kw_only=True):
    """The members of a journal line that budgets look at.

    `charge` (budget's id → amount) says on an intent line what is held for the call, on a call line what it is
    charged where that is not its plain cost.
    """

    call_id: str = ""
    started_at: int = 0
    source: str | None = None
    billing: str | None = None
    key_id: str | None = None
    user_id: str | None = None
    team: str | None = None
    project: str | None = None
    tags: list[str] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano_usd: int | None = None
    usage_source: str | None = None
    charge: Annotated[dict[str, int], msgspec.Meta(max_length=1000)] = {}


_decoder: msgspec.json.Decoder[Counted] = msgspec.json.Decoder(Counted)


def counted(line: bytes) -> Counted | None:
    """Return what counts of a line; None when its members are of other types than they should be."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None


def amount(call: Counted | CallRecord, unit: str) -> int:
    """Return what a call has used in a unit, so far as it is known; what is unknown counts nothing here."""
    if unit == "nano_usd":
        return call.cost_nano_usd or 0
    if call.usage_source == "none":
        return 0
    return (call.input_tokens or 0) + (call.output_tokens or 0)


def charged(call: Counted, budget: Budget) -> int:
    """Return what an ended call is charged under a budget."""
    told = call.charge.get(budget.id)
    return amount(call, budget.unit) if told is None else told


def counts(call: Counted | CallRecord) -> bool:
    """Say whether a call counts at all: made through the proxy, and billed by tokens."""
    return call.source == "proxy" and call.billing != "subscription"


_Limit = TypeVar("_Limit")


class Index(dict[str, dict[str, list[_Limit]]]):
    """Limits by subject and its id; the empty id of `global`."""

    @classmethod
    def of(cls, limits: Iterable[tuple[str, str, _Limit]]) -> Index[_Limit]:
        """Return the index of (subject, subject_id, limit)."""
        index: Index[_Limit] = cls({subject: {} for subject in SUBJECTS})
        for subject, subject_id, limit in limits:
            index[subject].setdefault(subject_id if subject != "global" else "", []).append(limit)
        return index

    def of_call(self, call: Counted | CallRecord) -> list[_Limit]:
        """Return the limits that concern a call."""
        found: list[_Limit] = []
        for subject, value in (
            ("global", ""), ("key", call.key_id), ("user", call.user_id), ("team", call.team),
            ("project", call.project),
        ):  # fmt: skip
            group: Mapping[str, list[_Limit]] = self[subject]
            if group and value is not None and (hit := group.get(value)):
                found += hit
        tagged = self["tag"]
        if tagged and call.tags:
            for tag in dict.fromkeys(call.tags):
                found += tagged.get(tag, ())
        return found

"""Budgets and rate limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.client.transport import Transport
from claude_proxy.client.written import segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_proxy.answers import Answer


class Limits(Transport):
    """Routes below /api/budgets and /api/rate-limits. Amounts are whole nano-dollars (1e-9 USD) or tokens.

    With a `version` one is changed or removed only while that is still its version.
    """

    def list_budgets(self) -> list[Answer]:
        """Return the budgets that concern the caller, oldest first."""
        return list(self._all("/api/budgets", "budgets"))

    def get_budget(self, budget_id: str) -> Answer:
        """Return one budget."""
        answer: Answer = self.get(f"/api/budgets/{segment(budget_id)}")
        return answer

    def create_budget(
        self, subject: str, amount: int, period: str, *, subject_id: str | None = None, **members: Any
    ) -> Answer:
        """Make a budget: `subject` is global, key, user, team, project or tag, `period` day, week, month or total.

        `members` are unit, name, hard, enabled, when_short, hold_wait_s, unpriced.
        """
        told = {"subject": subject, "amount": amount, "period": period, **members}
        if subject_id is not None:
            told["subject_id"] = subject_id
        answer: Answer = self.create("/api/budgets", told)
        return answer

    def update_budget(self, budget_id: str, *, version: int | None = None, **members: Any) -> Answer:
        """Change a budget: name, amount, hard, enabled, when_short, hold_wait_s, unpriced."""
        answer: Answer = self.patch(f"/api/budgets/{segment(budget_id)}", members, version=version)
        return answer

    def delete_budget(self, budget_id: str, *, version: int | None = None) -> Answer:
        """Remove a budget."""
        answer: Answer = self.remove(f"/api/budgets/{segment(budget_id)}", version=version)
        return answer

    def budget_status(self) -> list[Answer]:
        """Return what is spent, held and left of the budgets that concern the caller."""
        states: list[Answer] = self.get("/api/budgets/status")["budgets"]
        return states

    def list_rate_limits(self) -> list[Answer]:
        """Return the rate limits that concern the caller, oldest first."""
        return list(self._all("/api/rate-limits", "rate_limits"))

    def get_rate_limit(self, limit_id: str) -> Answer:
        """Return one rate limit."""
        answer: Answer = self.get(f"/api/rate-limits/{segment(limit_id)}")
        return answer

    def create_rate_limit(self, subject: str, subject_id: str | None = None, **members: Any) -> Answer:
        """Limit a key, a user, a team or (`global`) all: requests_per_minute, tokens_per_minute, concurrent."""
        told = {"subject": subject, **members}
        if subject_id is not None:
            told["subject_id"] = subject_id
        answer: Answer = self.create("/api/rate-limits", told)
        return answer

    def update_rate_limit(self, limit_id: str, *, version: int | None = None, **members: Any) -> Answer:
        """Change a rate limit; None takes one of its three limits away."""
        answer: Answer = self.patch(f"/api/rate-limits/{segment(limit_id)}", members, version=version)
        return answer

    def delete_rate_limit(self, limit_id: str, *, version: int | None = None) -> Answer:
        """Remove a rate limit."""
        answer: Answer = self.remove(f"/api/rate-limits/{segment(limit_id)}", version=version)
        return answer

    def _all(self, path: str, plural: str) -> Iterator[Answer]:
        cursor = None
        while True:
            page: Any = self.get(path, cursor=cursor)
            yield from page[plural]
            cursor = page.get("next")
            if not cursor:
                return

"""The guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_proxy.client.transport import Transport
from claude_proxy.client.written import segment

if TYPE_CHECKING:
    from datetime import datetime

    from claude_proxy.answers import Answer


class Guard(Transport):
    """Routes below /api/predictive/guard."""

    def get_guard(self, *, key: str | None = None, limit: int | None = None) -> Answer:
        """Return what is usual of each key and model, what the guard did about the others and would have done.

        `pairs` are keys and models, those in a cool-down first: `usual_usd` from which on a call's cost is
        anomalous, `ripe` whether it can be blocked, `would_have_blocked` calls of the last 30 days and their cost.
        `keys` say what is done about unusual calls, `rule` are the settings.
        """
        answer: Answer = self.get("/api/predictive/guard", key=key, limit=limit)
        return answer

    def set_guard_action(self, key_id: str, action: str | None) -> Answer:
        """Observe, warn of or block a key's unusual calls; None: as the key above it, else the settings, say."""
        answer: Answer = self.put(f"/api/predictive/guard/{segment(key_id)}", {"action": action})
        return answer

    def accept_usual(self, key_id: str, model: str, *, since: datetime | str | None = None) -> Answer:
        """Accept a key's unusual calls of a model since an instant, by default of the last seven days, as usual.

        A cool-down of theirs ends, and the worker learns from them within a minute or two. Calls that are unusual
        after that are so again. With `since` now the acceptance before it is taken back.
        """
        told = {"model": model}
        if since is not None:
            told["since"] = since if isinstance(since, str) else since.isoformat()
        answer: Answer = self.post(f"/api/predictive/guard/{segment(key_id)}/accept", told)
        return answer

    def end_cooldown(self, cooldown_id: str) -> Answer:
        """End a cool-down: calls go on within seconds, and those that led to it are forgotten."""
        answer: Answer = self.post(f"/api/predictive/guard/cooldowns/{segment(cooldown_id)}/end")
        return answer

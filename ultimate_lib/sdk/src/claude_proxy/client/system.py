"""The proxy itself: version, health, state, its own description and metrics."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from claude_proxy.client.transport import Transport

if TYPE_CHECKING:
    from claude_proxy.answers import Answer


class System(Transport):
    """Routes about the proxy's processes."""

    def version(self) -> Answer:
        """Return the proxy's `version`, the `api` it speaks, and whether its numbers are made up (`demo`)."""
        answer: Answer = self.get("/api/version")
        return answer

    def status(self) -> Answer:
        """Return how the processes, the journal and the lake do."""
        answer: Answer = self.get("/api/system/status")
        return answer

    def ready(self) -> Answer:
        """Return whether all parts work (`ready`), and the `reasons` when they do not: that is no error here."""
        response = self._send("GET", "/readyz", expected=(HTTPStatus.SERVICE_UNAVAILABLE,))
        answer: Answer = self._json(response)
        if "ready" not in answer:  # no answer of the part that knows, but a refusal on the way there
            raise self.error(response)
        return answer

    def health(self) -> Answer:
        """Return whether the proxy's process answers at all."""
        answer: Answer = self.get("/healthz")
        return answer

    def openapi(self) -> Answer:
        """Return the proxy's interface as an OpenAPI 3.1 document."""
        answer: Answer = self.get("/api/openapi.json")
        return answer

    def metrics(self) -> str:
        """Return the proxy's own metrics in Prometheus' text format."""
        return self._send("GET", "/metrics").text

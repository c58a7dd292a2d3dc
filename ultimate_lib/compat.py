"""Names that the public system's documentation uses, thin over the client.

from ultimate_lib import anomaly_detector
if anomaly_detector.check_request(request).is_anomaly: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ultimate_lib.errors import Invalid
from ultimate_lib.protocols import body

if TYPE_CHECKING:
    from claude_proxy.answers import Answer

_FIELDS = ("model", "key_id", "input_tokens", "output_tokens", "cost_usd", "provider")


class AnomalyDetector:
    """Asks the proxy that the client finds (`claude_proxy.places`) whether a call is unlike those before it."""

    def check_request(self, request: object) -> Answer:
        """Return what `ClaudeProxyClient.detect_anomaly` says of a request: a mapping, or an object with its fields.

        A body as providers take it (`model`, `messages`) is judged by its input, estimated from its size as at the
        proxy's door. Raises `Invalid` without a model, `claude_proxy.errors.ProxyError`.
        """
        from claude_proxy import ClaudeProxyClient  # noqa: PLC0415 - loads requests

        told = _told(request)
        with ClaudeProxyClient() as client:
            answer: Answer = client.detect_anomaly(told.pop("model"), **told)
            return answer


def _told(request: object) -> dict[str, Any]:
    names = (
        request if isinstance(request, Mapping) else {one: getattr(request, one, None) for one in (*_FIELDS, "cost")}
    )
    told = {name: names[name] for name in _FIELDS if names.get(name) is not None}
    if names.get("cost") is not None:
        told.setdefault("cost_usd", names["cost"])
    if not isinstance(told.get("model"), str):
        raise Invalid("The request names no model.", hint="Give a mapping with 'model' and tokens, or 'messages'.")
    if "messages" in names and not {"input_tokens", "cost_usd"} & told.keys():
        written = msgspec.json.encode(names)
        told["input_tokens"] = body.estimate_tokens(written, encoded=any(body.media(written)))
    return told


anomaly_detector = AnomalyDetector()

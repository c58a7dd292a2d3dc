"""The top-level members of a request that tell of more use than its size bounds."""

from __future__ import annotations

import msgspec


class Telling(msgspec.Struct):
    """Those members as they stand there; a base of what a protocol reads of a request, which sees them in passing."""

    web_search_options: msgspec.Raw = msgspec.Raw()
    search_parameters: msgspec.Raw = msgspec.Raw()
    mcp_servers: msgspec.Raw = msgspec.Raw()
    plugins: msgspec.Raw = msgspec.Raw()
    prediction: msgspec.Raw = msgspec.Raw()
    previous_response_id: msgspec.Raw = msgspec.Raw()
    speed: msgspec.Raw = msgspec.Raw()
    inference_geo: msgspec.Raw = msgspec.Raw()
    service_tier: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()
    modalities: msgspec.Raw = msgspec.Raw()

    def tells(self) -> bool:
        """Say whether one of them is there. Spelled out, for it is asked of every call."""
        return bool(
            self.web_search_options
            or self.search_parameters
            or self.mcp_servers
            or self.plugins
            or self.prediction
            or self.previous_response_id
            or self.speed
            or self.inference_geo
            or self.service_tier
            or self.audio
            or self.modalities
        )


TELLING = frozenset(Telling.__struct_fields__)

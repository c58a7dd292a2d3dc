"""The client of the Ultimate Proxy workbench.

from claude_proxy import ClaudeProxyClient
client = ClaudeProxyClient()            # address and key as `claude_proxy.places` finds them
client.get_analytics("2026-01-01", "2026-01-05").rows

Importing this loads no HTTP library; the first request does.
"""

from claude_proxy.about import __version__
from claude_proxy.answers import Answer, Calls, Rows
from claude_proxy.client import ClaudeProxyClient
from claude_proxy.errors import BadRequest, NotAllowed, NotFound, ProxyError, Unreachable

__all__ = [
    "Answer",
    "BadRequest",
    "Calls",
    "ClaudeProxyClient",
    "NotAllowed",
    "NotFound",
    "ProxyError",
    "Rows",
    "Unreachable",
    "__version__",
]

"""The client of the Ultimate Proxy workbench.

from claude_proxy import ClaudeProxyClient
client = ClaudeProxyClient()            # address and key as `claude_proxy.places` finds them
"""

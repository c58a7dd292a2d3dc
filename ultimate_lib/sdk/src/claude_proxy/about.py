"""Which client this is, and which interface of the proxy it speaks."""

__version__ = "0.1.0"
API = 1
"""The `api` that a proxy tells at `/api/version`."""

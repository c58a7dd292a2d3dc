"""How made-up calls are marked, so that they can be told apart and filtered out anywhere."""

from __future__ import annotations

SOURCE = "demo"
"""The `source` of every call that was written without having been made."""
TAG = "data=demo"
"""A tag of every made-up call, of those that were really made to the scripted provider, too."""

"""The store: SQLite or PostgreSQL behind SQLAlchemy Core. The only SQL of the project stands in this package.

    store = Store(settings.store_url)
    store.migrate()
    with store.begin() as connection: ...

Functions here are synchronous; a caller on an event loop runs writes in a thread (a commit may take tens of ms).
"""

from __future__ import annotations

from ultimate_lib.store.engine import Store

__all__ = ["Store"]

"""Alembic's environment: the connection comes from `Store.migrate`, the tables from `store.tables`."""

from __future__ import annotations

from alembic import context

from ultimate_lib.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,  # `Store.migrate` has begun the transaction, on SQLite as well
)
with context.begin_transaction():
    context.run_migrations()

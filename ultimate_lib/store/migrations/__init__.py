"""Alembic's migrations; each file in `versions` is one step, recorded once applied."""

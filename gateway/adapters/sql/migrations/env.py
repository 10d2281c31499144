"""Alembic runs this file, not we: it applies steps on the connection that `migrate` opened and locked."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from gateway.adapters.sql.tables import METADATA


def apply(connection: Connection) -> None:
    """Run the steps inside the transaction that `connection` is in."""
    # render_as_batch: SQLite cannot alter a column in place.
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


apply(context.config.attributes["connection"])

"""The only place where adapters meet the flow."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import Schema
from gateway.adapters.sql.migrate import check as check_schema
from gateway.adapters.sql.migrate import migrate as migrate_schema
from gateway.domain.errors import StoreUnavailable
from gateway.flow.manage import Manager

__all__ = ["DurableSettings", "Schema", "check_schema", "migrate_schema", "open_management", "wall_clock"]


class DurableSettings(Protocol):
    """What of the settings says where durable state lies."""

    @property
    def sql_url(self) -> str:
        """`sqlite:///file.db` or `postgresql://...`."""


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()  # noqa: TID251 - this is where time is supplied


class _NoAnnouncer:
    """Nobody to tell: no process serves from this database's keys yet."""

    async def keys_changed(self) -> None:
        """Nothing to do."""


@asynccontextmanager
async def open_management(settings: DurableSettings) -> AsyncIterator[Manager]:
    """The use cases of operators on the database that the settings name.

    An empty database gets its tables. One that is behind is left alone: the gateways that run on it may be, too.
    """
    schema = await check_schema(settings.sql_url)
    if not schema.current:
        await migrate_schema(settings.sql_url)
    elif not schema.is_newest:
        raise StoreUnavailable(f"The database is at schema {schema.current}, not {schema.newest}: gateway db upgrade.")
    database = Database(settings.sql_url)
    try:
        yield Manager(SqlBookkeeper(database), SqlLedger(database), _NoAnnouncer(), secrets.token_bytes)
    finally:
        await database.close()

"""What commands need of the stores and of the backends, each opened for as long as its block lasts."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox
from gateway.adapters.redis.pool import RedisPool
from gateway.adapters.sdnext import SdnextClient
from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import check as check_schema
from gateway.adapters.sql.migrate import migrate as migrate_schema
from gateway.adapters.sql.pruning import SqlPruner
from gateway.domain.backends import Backend
from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import KeptBackend
from gateway.flow.look import Onlooker
from gateway.flow.manage import Manager
from gateway.flow.prune import Pruner
from gateway.flow.reconcile import Reconciler
from gateway.ports import Announcer, BackendClient, Outbox
from gateway.settings import Settings
from gateway.wiring.common import backends_of

PATIENCE_S = 5.0  # of a command that a person typed


@asynccontextmanager
async def open_management(settings: Settings) -> AsyncIterator[Manager]:
    """The use cases of operators, for the command line, on the stores that the settings name.

    An empty database gets its tables. One that is behind is left alone: the gateways that run on it may be, too.
    Without a `redis_url` no gateway runs that could have to be told of a change.
    """
    schema = await check_schema(settings.sql_url)
    if not schema.current:
        await migrate_schema(settings.sql_url)
    elif not schema.is_newest:
        raise StoreUnavailable(f"The database is at schema {schema.current}, not {schema.newest}: gateway db upgrade.")
    async with AsyncExitStack() as stack:
        database = Database(settings.sql_url)
        stack.push_async_callback(database.close)
        announcer: Announcer = Nobody()
        if settings.redis_url:
            connection = Connection(settings.redis_url, settings.namespace, timeout_s=settings.store_timeout_s)
            stack.push_async_callback(connection.close)
            announcer = RedisJobs(connection, "management")
        yield Manager(SqlBookkeeper(database), SqlLedger(database), announcer, secrets.token_bytes)


@asynccontextmanager
async def open_pruner(settings: Settings) -> AsyncIterator[Pruner]:
    """What forgets old records. Raises StoreUnavailable for a database that is not at the newest schema."""
    async with open_management(settings), AsyncExitStack() as stack:
        database = Database(settings.sql_url)
        stack.push_async_callback(database.close)
        yield Pruner(SqlPruner(database), SqlBookkeeper(database))


@asynccontextmanager
async def open_reconciler(settings: Settings) -> AsyncIterator[Reconciler]:
    """Both sides of the ledger. Raises StoreUnavailable where no gateway runs whose jobs could be counted."""
    async with _both_sides(settings) as (connection, database):
        yield Reconciler(RedisOutbox(connection), SqlLedger(database))


@asynccontextmanager
async def open_onlooker(settings: Settings) -> AsyncIterator[Onlooker]:
    """The queue and the ledger for people's eyes. Raises StoreUnavailable where no gateway runs."""
    async with _both_sides(settings) as (connection, database):
        yield Onlooker(RedisPool(connection, "management"), SqlLedger(database))


@asynccontextmanager
async def open_outbox(settings: Settings) -> AsyncIterator[Outbox]:
    """Records on their way into the ledger. Raises StoreUnavailable where no gateway runs."""
    async with _both_sides(settings) as (connection, _):
        yield RedisOutbox(connection)


@asynccontextmanager
async def _both_sides(settings: Settings) -> AsyncIterator[tuple[Connection, Database]]:
    if not settings.redis_url:
        raise StoreUnavailable("No gateway runs here. Start it, or name its store in GATEWAY_REDIS_URL.")
    async with AsyncExitStack() as stack:
        database = Database(settings.sql_url)
        stack.push_async_callback(database.close)
        connection = Connection(settings.redis_url, settings.namespace, timeout_s=PATIENCE_S)
        stack.push_async_callback(connection.close)
        yield connection, database


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[tuple[Mapping[str, Backend], BackendClient]]:
    """Every backend by name and a client for them: those declared, and those added to a database that is current.

    Raises StoreUnavailable if a PostgreSQL cannot be reached; a database file that is not there is not made.
    """
    async with AsyncExitStack() as stack:
        client = SdnextClient()
        stack.push_async_callback(client.close)
        added: dict[str, Backend] = {}
        if settings.database_url or (settings.data_dir / "gateway.db").exists():
            manager = await stack.enter_async_context(open_management(settings))
            added = {one.name: one.backend for one in await manager.all_of(KeptBackend)}
        yield added | backends_of(settings), client


class Nobody:
    """An announcer for when no process serves that could be told."""

    async def keys_changed(self) -> None:
        """Nothing to do."""

"""What commands need of the stores and of the backends, each opened for as long as its block lasts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.schema import Schema as Schema
from gateway.adapters.sql.schema import check_schema
from gateway.domain.backends import Backend
from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import KeptBackend
from gateway.flow.manage import Manager
from gateway.ports import BackendClient, Outbox
from gateway.settings import Settings
from gateway.wiring.common import backends_of

if TYPE_CHECKING:
    from gateway.adapters.redis.connection import Connection
    from gateway.adapters.redis.jobs import RedisJobs
    from gateway.flow.examine import Slot
    from gateway.flow.held import HeldJobs
    from gateway.flow.look import Onlooker
    from gateway.flow.prune import Pruner
    from gateway.flow.reconcile import Reconciler

PATIENCE_S = 5.0  # of a command that a person typed


@asynccontextmanager
async def open_management(settings: Settings) -> AsyncIterator[Manager]:
    """The use cases of operators, for the command line, on the stores that the settings name.

    Raises StoreUnavailable for a database that is empty: nobody's command makes one, a start does and shows its first
    credentials; and for one that is behind: the gateways that run on it may be, too.
    """
    await _ensure_newest(settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.sql_url)
        stack.push_async_callback(database.close)
        announcer = LateAnnouncer(settings)
        stack.push_async_callback(announcer.close)
        yield Manager(SqlBookkeeper(database), SqlLedger(database), announcer, secrets.token_bytes)


async def schema_of(settings: Settings) -> Schema:
    """What the database is at; changes nothing. Raises StoreUnavailable."""
    return await check_schema(settings.sql_url)


async def migrate_schema(settings: Settings) -> Schema:
    """Bring the database to the newest schema and answer what it was at before."""
    from gateway.adapters.sql.migrate import migrate

    return await migrate(settings.sql_url)


async def _ensure_newest(settings: Settings) -> None:
    schema = await check_schema(settings.sql_url)
    if not schema.current:
        raise StoreUnavailable(
            "No gateway was started here yet: there is no database, or an empty one. Start it (gateway serve, or make "
            "run), or name another with --config FILE, GATEWAY_DATA_DIR or GATEWAY_DATABASE_URL."
        )
    if not schema.is_newest:
        raise StoreUnavailable(f"The database is at schema {schema.current}, not {schema.newest}: gateway db upgrade.")


@asynccontextmanager
async def open_pruner(settings: Settings) -> AsyncIterator[Pruner]:
    """What forgets old records. Raises StoreUnavailable for a database that is not at the newest schema."""
    from gateway.adapters.sql.pruning import SqlPruner
    from gateway.flow.prune import Pruner

    async with open_management(settings), AsyncExitStack() as stack:
        database = Database(settings.sql_url)
        stack.push_async_callback(database.close)
        yield Pruner(SqlPruner(database), SqlBookkeeper(database))


@asynccontextmanager
async def open_reconciler(settings: Settings) -> AsyncIterator[Reconciler]:
    """Both sides of the ledger. Raises StoreUnavailable where no gateway runs whose jobs could be counted."""
    from gateway.adapters.redis.outbox import RedisOutbox
    from gateway.flow.reconcile import Reconciler

    async with _both_sides(settings) as (connection, database):
        yield Reconciler(RedisOutbox(connection), SqlLedger(database))


@asynccontextmanager
async def open_onlooker(settings: Settings) -> AsyncIterator[Onlooker]:
    """The queue and the ledger for people's eyes. Raises StoreUnavailable where no gateway runs."""
    from gateway.adapters.redis.pool import RedisPool
    from gateway.flow.look import Onlooker

    async with _both_sides(settings) as (connection, database):
        yield Onlooker(RedisPool(connection, "management"), SqlLedger(database))


@asynccontextmanager
async def open_outbox(settings: Settings) -> AsyncIterator[Outbox]:
    """Records on their way into the ledger. Raises StoreUnavailable where no gateway runs."""
    from gateway.adapters.redis.outbox import RedisOutbox

    async with _both_sides(settings) as (connection, _):
        yield RedisOutbox(connection)


@asynccontextmanager
async def open_slots(settings: Settings, client: BackendClient) -> AsyncIterator[Slot]:
    """The backends' slots, for work that a person asked for beside a gateway; always free where no gateway serves."""
    from gateway.adapters.redis.connection import Connection
    from gateway.adapters.redis.jobs import RedisJobs
    from gateway.adapters.redis.pool import RedisPool
    from gateway.flow.examine import no_gateway
    from gateway.flow.held import HeldJobs
    from gateway.flow.upkeep import Upkeep

    async with AsyncExitStack() as stack:
        if not settings.redis_url:
            yield no_gateway
            return
        connection = Connection(settings.redis_url, settings.namespace, timeout_s=PATIENCE_S)
        stack.push_async_callback(connection.close)
        process, held = f"doctor-{secrets.token_hex(6)}", HeldJobs()
        jobs = RedisJobs(connection, process)
        try:
            await jobs.beat(0)
        except StoreUnavailable:
            yield no_gateway
            return
        upkeep = Upkeep(client, RedisPool(connection, process), jobs, held)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        beating = group.create_task(_beat(jobs, held))
        stack.callback(beating.cancel)
        yield partial(upkeep.slot, forgets_loaded=True)


async def _beat(jobs: RedisJobs, held: HeldJobs) -> None:
    """What is held stays held only while its process is heard."""
    from gateway.flow.pulse import BEAT_S

    while True:
        with suppress(StoreUnavailable):
            await jobs.beat(len(held))
        await asyncio.sleep(BEAT_S)


@asynccontextmanager
async def _both_sides(settings: Settings) -> AsyncIterator[tuple[Connection, Database]]:
    if not settings.redis_url:
        raise StoreUnavailable(
            "No gateway runs here. Start it, or name another with --config FILE, GATEWAY_DATA_DIR or GATEWAY_REDIS_URL."
        )
    async with AsyncExitStack() as stack:
        from gateway.adapters.redis.connection import Connection

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
    from gateway.adapters.sdnext import SdnextClient

    async with AsyncExitStack() as stack:
        client = SdnextClient()
        stack.push_async_callback(client.close)
        added: dict[str, Backend] = {}
        if settings.database_url or (await check_schema(settings.sql_url)).current:
            manager = await stack.enter_async_context(open_management(settings))
            added = {one.name: one.backend for one in await manager.all_of(KeptBackend)}
        yield added | backends_of(settings), client


class LateAnnouncer:
    """Tells running gateways of a change; connects when there is something to tell. Fulfils `ports.Announcer`.

    Without a `redis_url` no gateway runs that could have to be told.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    async def keys_changed(self) -> None:
        """Tell them. Raises StoreUnavailable."""
        if not self._settings.redis_url:
            return
        from gateway.adapters.redis.connection import Connection
        from gateway.adapters.redis.jobs import RedisJobs

        if self._connection is None:
            self._connection = Connection(
                self._settings.redis_url, self._settings.namespace, timeout_s=self._settings.store_timeout_s
            )
        await RedisJobs(self._connection, "management").keys_changed()

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            await self._connection.close()

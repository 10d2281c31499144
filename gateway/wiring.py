"""The only place where adapters meet the flow: opens everything in order, closes it in reverse."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from gateway.adapters.metrics import MeasuredClient, MeasuredLog, Metrics
from gateway.adapters.redis.check import check_deployment, check_server
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox
from gateway.adapters.redis.own import RedisOwn
from gateway.adapters.redis.pool import RedisPool
from gateway.adapters.sdnext import SdnextClient
from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.keys import SqlKeyStore
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import Schema
from gateway.adapters.sql.migrate import check as check_schema
from gateway.adapters.sql.migrate import migrate as migrate_schema
from gateway.adapters.telemetry import Log as LogLines
from gateway.domain.backends import Backend
from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import KeptBackend
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.reports import UsageQuestion
from gateway.flow.account import Account
from gateway.flow.attention import Attendant
from gateway.flow.authenticate import Authenticator, Epoch
from gateway.flow.byte_budget import ByteBudget
from gateway.flow.changes import Author
from gateway.flow.dispatch import Dispatcher
from gateway.flow.enter import Entrance
from gateway.flow.faults import Faults
from gateway.flow.forward import Forwarder
from gateway.flow.gauges import Gauges
from gateway.flow.held import HeldJobs
from gateway.flow.keep_books import Bookkeeper
from gateway.flow.leave import Exit
from gateway.flow.look import Onlooker
from gateway.flow.manage import Manager
from gateway.flow.own_jobs import OwnWork
from gateway.flow.own_view import OwnOptions
from gateway.flow.pulse import Pulse
from gateway.flow.readiness import Readiness
from gateway.flow.reconcile import Reconciler
from gateway.flow.rescan import Rescanner
from gateway.flow.roster import Roster
from gateway.flow.seed import DemoKeys, first_run, seed_demo
from gateway.flow.serve import Gateway
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.supervise import Loop, LoopsFailed, Supervisor
from gateway.flow.upkeep import Upkeep
from gateway.flow.watch import Watcher
from gateway.ports import Announcer, BackendClient, Log
from gateway.ports.metrics import Meter
from gateway.settings import Settings

FIRST_LOOK_S = 10.0
PATIENCE_S = 5.0  # of a command that a person typed

__all__ = [
    "Schema",
    "Services",
    "check_schema",
    "migrate_schema",
    "open_backends",
    "open_log",
    "open_management",
    "open_services",
    "wall_clock",
]


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes need."""

    gateway: Gateway
    current: CurrentCatalogue
    readiness: Readiness
    byte_budget: ByteBudget
    account: Account
    rescans: Rescanner
    meter: Meter


@dataclass(frozen=True, slots=True)
class Stores:
    """Both stores, opened."""

    connection: Connection
    database: Database
    jobs: RedisJobs
    pool: RedisPool
    own: RedisOwn
    manager: Manager


@asynccontextmanager
async def open_stores(settings: Settings, meter: Meter) -> AsyncIterator[Stores]:
    """Redis and SQL, with the schema brought up to date."""
    process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        await migrate_schema(settings.sql_url)
        database = Database(settings.sql_url, observe=partial(meter.store_answered, "sql"))
        stack.push_async_callback(database.close)
        observe = partial(meter.store_answered, "redis")
        connection = Connection(settings.redis_url, settings.namespace, observe=observe)
        stack.push_async_callback(connection.close)
        await check_server(connection)
        jobs = RedisJobs(connection, process, settings.lease_s)
        pool, own = RedisPool(connection, process), RedisOwn(connection, process)
        manager = Manager(SqlBookkeeper(database), SqlLedger(database), jobs, secrets.token_bytes)
        deployment_id = await manager.deployment_id()
        is_empty = await check_deployment(connection, deployment_id)
        jobs.belongs_to(deployment_id, has_lost_data=is_empty and await _has_run_before(manager))
        yield Stores(connection, database, jobs, pool, own, manager)


async def _has_run_before(manager: Manager) -> bool:
    return any(row.jobs for row in await manager.usage(UsageQuestion((), 0.0, wall_clock())))


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
            connection = Connection(settings.redis_url, settings.namespace)
            stack.push_async_callback(connection.close)
            announcer = RedisJobs(connection, "management")
        yield Manager(SqlBookkeeper(database), SqlLedger(database), announcer, secrets.token_bytes)


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


def open_log(settings: Settings) -> Log:
    """Where lines go that operators read."""
    return LogLines(settings.log_level, settings.log_format)


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()  # noqa: TID251 - this is where time is supplied


@asynccontextmanager
async def open_services(settings: Settings, state: Any) -> AsyncIterator[Services]:  # noqa: ANN401 - Starlette's bag
    """Everything a serving process needs, its loops running. `state` is the application's, shared with the worker."""
    metrics = Metrics(version("sdnext-gateway"))
    log = MeasuredLog(LogLines(settings.log_level, settings.log_format), metrics)
    async with AsyncExitStack() as stack:
        if settings.metrics_port:
            stack.enter_context(metrics.served(settings.host, settings.metrics_port))
        stores = await stack.enter_async_context(open_stores(settings, metrics))
        plain = SdnextClient()
        stack.push_async_callback(plain.close)
        client = MeasuredClient(plain, metrics)
        await _seed(settings, stores.manager)
        roster = Roster(backends_of(settings), stores.manager)
        await roster.read()
        services, supervisor = _assemble(settings, stores, client, roster, log, metrics)
        services.readiness.watch(supervisor, lambda: bool(getattr(state, "is_draining", False)))
        stack.push_async_callback(_resign, stores.pool)  # once the loops have ended: they would lead again
        await stack.enter_async_context(_running(supervisor, state))
        with suppress(TimeoutError):  # a pool that is away must not keep a gateway from starting
            async with asyncio.timeout(FIRST_LOOK_S if roster.backends else 0):
                await services.current.is_known.wait()
        services.readiness.has_started = True
        yield services


async def _resign(pool: RedisPool) -> None:
    with suppress(StoreUnavailable):  # then the lease runs out by itself
        await pool.resign()


async def _seed(settings: Settings, manager: Manager) -> None:
    author = Author("start", wall_clock())
    if settings.demo_key.get_secret_value():
        keys = DemoKeys(
            settings.demo_key.get_secret_value(), settings.demo_key_2.get_secret_value(), settings.demo_model_2
        )
        await seed_demo(manager, author, keys)
        return
    given_token, given_key = settings.admin_token.get_secret_value(), settings.first_key.get_secret_value()
    first = await first_run(manager, author, given_token, given_key)
    if first is not None:  # shown once, and only what was not given
        lines = [] if given_token else [f"admin token  {first.admin_token}"]
        lines += [] if given_key else [f"first key    {first.key}   (tenant {first.tenant.name})"]
        sys.stdout.write("".join(f"gateway: {line}\n" for line in lines))
        sys.stdout.flush()


def _assemble(
    settings: Settings, stores: Stores, client: BackendClient, roster: Roster, log: Log, meter: Meter
) -> tuple[Services, Supervisor]:
    ledger, held, epoch, current = SqlLedger(stores.database), HeldJobs(), Epoch(), CurrentCatalogue()
    way_out = Exit(stores.jobs, held)
    byte_budget, upkeep = _byte_budget(settings), Upkeep(client, stores.pool, stores.jobs, held)
    forwarder = Forwarder(
        client, stores.pool, lambda: roster.backends, current, Attendant(client, stores.own), byte_budget
    )
    gateway = Gateway(
        Authenticator(SqlKeyStore(stores.database), epoch, wall_clock),
        Entrance(stores.jobs, ledger, held),
        forwarder,
        way_out,
        _faults(upkeep, current),
        stores.jobs,
        epoch,
        current,
        OwnOptions(stores.own),
        OwnWork(stores.own, held),
        OperatorPolicy(default_model=settings.default_model, caption_models=settings.caption_models),
        log,
    )
    dispatcher, pulse = Dispatcher(stores.pool), Pulse(stores.jobs, stores.pool, held, way_out, epoch, current)
    watcher = Watcher(_declared(roster), client, stores.pool, upkeep, current, pool_seen=lambda: dispatcher.pool)
    rescans = Rescanner(_declared(roster), stores.pool, upkeep, current, pool_seen=lambda: dispatcher.pool)
    loops: dict[str, Loop] = {
        "heartbeat": pulse.beat_for_ever,
        "listener": pulse.listen_for_ever,
        "dispatcher": dispatcher.run,
        "watcher": watcher.run,
        "rescans": rescans.run,
        "ledger": Bookkeeper(RedisOutbox(stores.connection), ledger, lambda: dispatcher.is_leading).run,
        "roster": roster.run,
        "reloads": lambda: upkeep.reload_for_ever(lambda: roster.backends),
    }
    supervisor, account = _supervisor(loops, log), Account(ledger, stores.own, wall_clock)
    readiness = Readiness(pulse, current)
    supervisor.add("gauges", Gauges(meter, readiness, dispatcher, held, way_out, pulse, supervisor, current).run)
    return Services(gateway, current, readiness, byte_budget, account, rescans, meter), supervisor


def _declared(roster: Roster) -> Callable[[], tuple[Backend, ...]]:
    return lambda: tuple(roster.backends.values())


def _byte_budget(settings: Settings) -> ByteBudget:
    return ByteBudget(settings.byte_budget_mb * 1_000_000)


def _supervisor(loops: dict[str, Loop], log: Log) -> Supervisor:
    """The loops of this process, by name; their failures go to the log."""
    supervisor = Supervisor(lambda name, error: log.failed("loop_failed", error, loop=name))
    for name, loop in loops.items():
        supervisor.add(name, loop)
    return supervisor


def _faults(upkeep: Upkeep, current: CurrentCatalogue) -> Faults:
    """The book of faults, told of backends that came back, asking the upkeep for what needs a slot."""
    faults = Faults(lambda it: upkeep.ask_reload(it.backend, current.title_of(it.checkpoint, it.backend)))
    current.on_new_lists = faults.came_back
    return faults


@asynccontextmanager
async def _running(supervisor: Supervisor, state: Any) -> AsyncIterator[None]:  # noqa: ANN401 - Starlette's bag
    """The loops run while the block does; if they cannot be kept running the process ends with status 1."""

    async def run() -> None:
        try:
            await supervisor.run()
        except LoopsFailed as failed:
            state.end_process(str(failed))

    async with asyncio.TaskGroup() as group:
        loops = group.create_task(run(), name="loops")
        try:
            yield
        finally:
            loops.cancel()


def backends_of(settings: Settings) -> dict[str, Backend]:
    """The pool as the configuration declares it, by name."""
    return {
        entry.name: Backend(
            entry.name, entry.url, entry.username, entry.password.get_secret_value(), is_managed=entry.manage
        )
        for entry in settings.backends
    }

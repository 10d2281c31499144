"""What a serving process needs: opens everything in order, closes it in reverse."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from gateway.adapters.metrics import MeasuredClient, MeasuredLog, Metrics, MetricsPortTaken
from gateway.adapters.redis.check import UnfitServer
from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.introduction import Introduction
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox
from gateway.adapters.redis.own import RedisOwn
from gateway.adapters.redis.pool import RedisPool
from gateway.adapters.sdnext import SdnextClient
from gateway.adapters.sql.books import SqlBookkeeper
from gateway.adapters.sql.engine import Database
from gateway.adapters.sql.keys import SqlKeyStore
from gateway.adapters.sql.ledger import SqlLedger
from gateway.adapters.sql.migrate import migrate as migrate_schema
from gateway.adapters.telemetry import Log as LogLines
from gateway.adapters.tracing import TracingUnavailable, open_tracer, outgoing_headers
from gateway.domain.errors import StoreUnavailable
from gateway.domain.managed import UnknownName
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.reports import UsageQuestion
from gateway.flow.account import Account
from gateway.flow.attention import Attendant
from gateway.flow.authenticate import Authenticator, Epoch
from gateway.flow.byte_budget import ByteBudget
from gateway.flow.call_limits import CallLimits
from gateway.flow.changes import Author
from gateway.flow.dispatch import Dispatcher
from gateway.flow.enter import Entrance
from gateway.flow.faults import faults_of
from gateway.flow.foresee import Foresight
from gateway.flow.forward import Forwarder
from gateway.flow.gauges import Gauges
from gateway.flow.held import HeldJobs
from gateway.flow.keep_books import Bookkeeper
from gateway.flow.leave import Exit
from gateway.flow.lifespan import meanwhile, running
from gateway.flow.manage import Manager
from gateway.flow.outages import Outages
from gateway.flow.own_jobs import OwnWork
from gateway.flow.own_view import OwnOptions
from gateway.flow.pulse import Pulse
from gateway.flow.readiness import Readiness
from gateway.flow.reload import Reloader
from gateway.flow.rescan import Rescanner
from gateway.flow.roster import Roster
from gateway.flow.seed import DemoKeys, first_run, seed_demo
from gateway.flow.serve import Gateway
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.speed_books import Librarian, recalled
from gateway.flow.supervise import Loop, Supervisor
from gateway.flow.upkeep import Found, Upkeep
from gateway.flow.watch import Watcher
from gateway.handover import environment_without_settings
from gateway.ports import BackendClient, Log
from gateway.ports.metrics import Meter
from gateway.ports.tracing import Tracer
from gateway.settings import Settings
from gateway.wiring.common import backends_of, wall_clock
from gateway.wiring.start import database_named, failing_in_one_sentence

FIRST_LOOK_S = 10.0
FAREWELL_S = 5.0


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes need."""

    gateway: Gateway
    current: CurrentCatalogue
    readiness: Readiness
    byte_budget: ByteBudget
    call_limits: CallLimits
    account: Account
    rescans: Rescanner
    meter: Meter
    tracer: Tracer | None = None


@dataclass(frozen=True, slots=True)
class Stores:
    """Both stores, opened."""

    connection: Connection
    database: Database
    jobs: RedisJobs
    pool: RedisPool
    own: RedisOwn
    manager: Manager
    introduction: Introduction
    deployment_id: str


@asynccontextmanager
async def open_stores(settings: Settings, meter: Meter, outages: Outages) -> AsyncIterator[Stores]:
    """Redis and SQL, with the schema brought up to date. A Redis that does not answer yet is not waited for."""
    process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        with database_named(settings):
            await migrate_schema(settings.sql_url)
        database = Database(settings.sql_url, observe=partial(meter.store_answered, "sql"), health=outages)
        stack.push_async_callback(database.close)
        connect = partial(
            Connection,
            settings.redis_url,
            settings.namespace,
            timeout_s=settings.store_timeout_s,
            observe=partial(meter.store_answered, "redis"),
        )
        connection = connect(is_open=False, health=outages)
        stack.push_async_callback(connection.close)
        jobs = RedisJobs(connection, process, settings.lease_s)
        pool, own = RedisPool(connection, process), RedisOwn(connection, process)
        introduction = Introduction(connect, connection, jobs, partial(_has_run_before, SqlLedger(database)))
        manager = Manager(SqlBookkeeper(database), SqlLedger(database), introduction, secrets.token_bytes)
        deployment_id = await manager.deployment_id()
        with suppress(StoreUnavailable):
            await introduction.attempt(deployment_id)
        yield Stores(connection, database, jobs, pool, own, manager, introduction, deployment_id)


async def _has_run_before(ledger: SqlLedger) -> bool:
    return any(row.jobs for row in await ledger.usage(UsageQuestion((), 0.0, wall_clock())))


@asynccontextmanager
async def open_services(settings: Settings, state: Any) -> AsyncIterator[Services]:  # noqa: ANN401 - Starlette's bag
    """Everything a serving process needs, its loops running. `state` is the application's, shared with the worker.

    Raises StartFailed where a restart would be of no use.
    """
    metrics = Metrics(version("sdnext-gateway"))
    log = MeasuredLog(LogLines(settings.log_level, settings.log_format), metrics)
    async with AsyncExitStack() as stack:
        with failing_in_one_sentence(UnfitServer, MetricsPortTaken, TracingUnavailable):
            if settings.metrics_port:
                stack.enter_context(metrics.served(settings.host, settings.metrics_port))
            tracer = open_tracer(environment_without_settings(), version("sdnext-gateway"), log)
            stack.push_async_callback(tracer.close)
            outages = Outages(log, asyncio.get_running_loop().time)
            stores = await stack.enter_async_context(open_stores(settings, metrics, outages))
            plain = SdnextClient(outgoing_headers)
            stack.push_async_callback(plain.close)
            client = tracer.around(MeasuredClient(plain, metrics))
            await _seed(settings, stores.manager)
            roster = Roster(backends_of(settings), stores.manager)
            await roster.read()
        services, supervisor = _assemble(settings, stores, client, roster, Watch(log, metrics, outages))
        services.readiness.watch(supervisor, lambda: bool(getattr(state, "is_draining", False)))
        # Once the loops have ended: they would lead again.
        stack.push_async_callback(_say_goodbye, stores.pool, services.readiness.pulse)
        await stack.enter_async_context(running(supervisor, lambda why: state.end_process(why)))
        begin = partial(_begin, stores, services, roster, log)
        if stores.introduction.is_over:
            await begin()
        else:
            _waits(services.readiness, log, stores.introduction.waits_for)
            await stack.enter_async_context(meanwhile(begin, UnfitServer, lambda why: state.cannot_start(why)))
        yield replace(services, tracer=tracer)


def _waits(readiness: Readiness, log: Log, reason: str) -> None:
    """The start waits for the store, for this reason: told in `/readyz`, and in the log when it becomes another."""
    if reason and reason != readiness.waits_for:
        readiness.waits_for = reason
        log.warn("start_waits_for_store", reason=reason)


async def _begin(stores: Stores, services: Services, roster: Roster, log: Log) -> None:
    """Calls are welcome once the store is there, and a backend was seen or could have been. Raises UnfitServer."""
    await stores.introduction.insist(stores.deployment_id, partial(_waits, services.readiness, log))
    services.readiness.waits_for = ""
    with suppress(TimeoutError):  # a pool that is away must not keep a gateway from starting
        async with asyncio.timeout(FIRST_LOOK_S if roster.backends() else 0):
            await services.current.is_known.wait()
    services.readiness.has_started = True
    log.tell("process_ready", pid=os.getpid(), backends=len(roster.backends()))


async def _say_goodbye(pool: RedisPool, pulse: Pulse) -> None:
    """Leave neither open records nor the dispatcher's lease behind; what is not heard now runs out by itself."""
    await pulse.beat_last(FAREWELL_S)
    with suppress(StoreUnavailable):
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
        lines += [] if given_key or not first.tenant else [f"first key    {first.key}   (tenant {first.tenant.name})"]
        sys.stdout.write("".join(f"gateway: {line}\n" for line in lines))
        sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Watch:
    """Where it is told how things go."""

    log: Log
    meter: Meter
    outages: Outages


def _assemble(
    settings: Settings, stores: Stores, client: BackendClient, roster: Roster, watch: Watch
) -> tuple[Services, Supervisor]:
    ledger, held, epoch, current = SqlLedger(stores.database), HeldJobs(), Epoch(), CurrentCatalogue()
    byte_budget, way_out = _byte_budget(settings), Exit(stores.jobs, held)
    account = Account(ledger, stores.own, wall_clock)
    upkeep = Upkeep(client, stores.pool, stores.jobs, held, _found(stores.manager, watch.log))
    reloader = Reloader(client, stores.pool, upkeep, watch.log)
    gateway = Gateway(
        Authenticator(SqlKeyStore(stores.database), epoch, wall_clock),
        Entrance(stores.jobs, ledger, held),
        Forwarder(client, stores.pool, roster.backends, current, Attendant(client, stores.own)),
        way_out,
        faults_of(reloader, current),
        stores.jobs,
        epoch,
        current,
        OwnOptions(stores.own),
        OwnWork(stores.own, held),
        OperatorPolicy(default_model=settings.default_model, caption_models=settings.caption_models),
        watch.log,
    )
    dispatcher, bookkeeper, leading = _leading(stores, ledger, watch.log)
    pulse = Pulse(stores.jobs, stores.pool, held, way_out, epoch, current)
    watcher = Watcher(roster.listed, stores.pool, upkeep, current, watch.log, pool_seen=lambda: dispatcher.pool)
    rescans = Rescanner(roster.listed, stores.pool, upkeep, current, pool_seen=lambda: dispatcher.pool)
    loops: dict[str, Loop] = {
        "heartbeat": pulse.beat_for_ever,
        "listener": pulse.listen_for_ever,
        **leading,
        "watcher": watcher.run,
        "rescans": rescans.run,
        "roster": roster.run,
        "reloads": lambda: reloader.run(roster.backends),
    }
    supervisor, readiness = _supervisor(loops, watch.log), Readiness(pulse, current, watch.outages.reason)
    meter, books, limits = watch.meter, bookkeeper, _call_limits(settings)
    gauges = Gauges(meter, readiness, dispatcher, held, way_out, pulse, supervisor, current, byte_budget, books)
    supervisor.add("gauges", gauges.run)
    return Services(gateway, current, readiness, byte_budget, limits, account, rescans, meter), supervisor


def _leading(stores: Stores, ledger: SqlLedger, log: Log) -> tuple[Dispatcher, Bookkeeper, dict[str, Loop]]:
    """The dispatcher and the ledger's writer, and the loops of which only the leader's do anything."""
    books = SqlBookkeeper(stores.database)
    dispatcher = Dispatcher(stores.pool, partial(recalled, books), partial(_tell_lease, log))
    bookkeeper = Bookkeeper(RedisOutbox(stores.connection), ledger, lambda: dispatcher.is_leading, log)
    loops: dict[str, Loop] = {
        "dispatcher": dispatcher.run,
        "foresight": Foresight(dispatcher, stores.pool).run,
        "speeds": Librarian(books, dispatcher, wall_clock).run,
        "ledger": bookkeeper.run,
    }
    return dispatcher, bookkeeper, loops


def _tell_lease(log: Log, has_it: bool) -> None:
    log.tell("dispatcher_lease_taken" if has_it else "dispatcher_lease_lost", pid=os.getpid())


def _call_limits(settings: Settings) -> CallLimits:
    return CallLimits(settings.key_calls_per_minute, settings.address_calls_per_minute)


def _byte_budget(settings: Settings) -> ByteBudget:
    return ByteBudget(settings.byte_budget_mb * 1_000_000)


def _supervisor(loops: dict[str, Loop], log: Log) -> Supervisor:
    """The loops of this process, by name; their failures go to the log."""
    supervisor = Supervisor(lambda name, error: log.failed("loop_failed", error, loop=name))
    for name, loop in loops.items():
        supervisor.add(name, loop)
    return supervisor


def _found(manager: Manager, log: Log) -> Found:
    """Keeps what options of a backend were before they were set; those of declared ones stand in the log alone."""

    async def keep(backend: str, options: Mapping[str, Any]) -> None:
        log.tell("options_set", backend=backend, before=options)
        with suppress(UnknownName):
            await manager.remember_options(Author("gateway", wall_clock()), backend, options)

    return keep

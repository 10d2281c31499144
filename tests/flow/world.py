"""A whole gateway in virtual time: the real flow over the oracle of the stores and simulated SD.Next servers.

Only what lies behind a port is replaced. The loops run under the real Supervisor, and when the block ends every task
must have ended and every failure of a loop must have been expected. It needs the `VirtualTimeLoop`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Operation, Outcome
from gateway.domain.keys import Caller, digest_of
from gateway.domain.limits import MICROSECONDS
from gateway.domain.parameters import OperatorPolicy
from gateway.domain.plans import Plan
from gateway.domain.reconciliation import Count
from gateway.domain.usage import Measure, Record, Window
from gateway.flow.attention import Attendant
from gateway.flow.authenticate import Authenticator, Epoch
from gateway.flow.dispatch import Dispatcher
from gateway.flow.enter import Entrance
from gateway.flow.faults import faults_of
from gateway.flow.foresee import Foresight
from gateway.flow.forward import Forwarder
from gateway.flow.held import HeldJobs
from gateway.flow.keep_books import Bookkeeper
from gateway.flow.leave import Exit
from gateway.flow.own_jobs import OwnWork
from gateway.flow.own_view import OwnOptions
from gateway.flow.pulse import Pulse
from gateway.flow.reload import Reloader
from gateway.flow.rescan import Rescanner
from gateway.flow.serve import Call, Gateway, Served
from gateway.flow.snapshot import CurrentCatalogue
from gateway.flow.supervise import Supervisor
from gateway.flow.upkeep import Upkeep
from gateway.flow.watch import Watcher
from gateway.simulator.sdnext.simulation_options import SimulationOptions
from tests.support.fake_backends import SimulatedBackends, sdnext
from tests.support.memory_jobs import MemoryJobs
from tests.support.memory_own import MemoryOwn
from tests.support.memory_store import MemoryStore

T = TypeVar("T")
KEY = "sk-" + "a" * 20
PLAN = Plan(requests_per_minute=1e6, burst=1_000_000, max_concurrency=8, max_queued=50)
CALLER = Caller("k1", "sk-aaaaa", "t1", "Tenant", PLAN)
WIRE_S = 0.001  # each way between gateway and store
STORE_BEGAN_US = 1_800_000_000 * MICROSECONDS


class LoopStore(MemoryStore):
    """The shared store, with the loop's clock for its own."""

    @property
    def now_us(self) -> int:
        return STORE_BEGAN_US + round(asyncio.get_running_loop().time() * MICROSECONDS)

    @now_us.setter
    def now_us(self, _value: int) -> None:
        """The clock is the loop's."""


class DistantJobs(MemoryJobs):
    """The store at the end of a wire: every call takes time both ways, the wire can be cut, and answers can be lost.

    `calls` has what reached the store, by name and first argument.
    """

    def __init__(self, store: MemoryStore, process: str, lease_s: float = 10.0) -> None:
        super().__init__(store, process, lease_s)
        self.is_away = False
        self.lost_answers: list[str] = []
        self.calls: list[tuple[str, Any]] = []
        self.slow: dict[str, float] = {}

    async def _wire(self, name: str, argument: object, work: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(WIRE_S)
        if self.is_away:
            raise StoreUnavailable("The gateway's store cannot be reached.")
        self.calls.append((name, argument))
        answer = await work()
        await asyncio.sleep(WIRE_S + self.slow.get(name, 0.0))
        if name in self.lost_answers:
            self.lost_answers.remove(name)
            raise StoreUnavailable("The gateway's store did not answer in time.")
        return answer

    def named(self, name: str) -> list[Any]:
        """The first arguments of all calls of that name."""
        return [argument for called, argument in self.calls if called == name]

    async def enter(self, entry):
        return await self._wire("enter", entry, lambda: super(DistantJobs, self).enter(entry))

    async def requeue(self, operation_id, job_id, runnable_on, ticket, loaded):
        return await self._wire(
            "requeue",
            runnable_on,
            lambda: super(DistantJobs, self).requeue(operation_id, job_id, runnable_on, ticket, loaded),
        )

    async def leave(self, leaving):
        return await self._wire("leave", leaving, lambda: super(DistantJobs, self).leave(leaving))

    async def beat(self, held_count):
        return await self._wire("beat", held_count, lambda: super(DistantJobs, self).beat(held_count))

    async def look(self, job_ids):
        return await self._wire("look", job_ids, lambda: super(DistantJobs, self).look(job_ids))

    async def poll(self, *, from_scratch):
        return await self._wire("poll", from_scratch, lambda: super(DistantJobs, self).poll(from_scratch=from_scratch))

    async def grant(self, operation_id, grants, why=None):
        return await self._wire("grant", grants, lambda: super(DistantJobs, self).grant(operation_id, grants, why))

    async def hold(self, operation_id, job_id, backend, *, is_under_way=False):
        def hold():
            return super(DistantJobs, self).hold(operation_id, job_id, backend, is_under_way=is_under_way)

        return await self._wire("hold", backend, hold)

    async def publish(self, operation_id, news):
        return await self._wire("publish", news, lambda: super(DistantJobs, self).publish(operation_id, news))

    async def inventories(self):
        return await self._wire("inventories", None, super().inventories)

    async def standings(self):
        return await self._wire("standings", None, super().standings)

    async def wish_rescan(self, wish):
        return await self._wire("wish_rescan", wish, lambda: super(DistantJobs, self).wish_rescan(wish))

    async def rescan_wish(self):
        return await self._wire("rescan_wish", None, super().rescan_wish)

    async def next_message(self, timeout_s):
        if self.is_away:
            await asyncio.sleep(WIRE_S)
            raise StoreUnavailable("The gateway's store cannot be reached.")
        return await super().next_message(timeout_s)

    async def wait_for_work(self, timeout_s):
        if self.is_away:
            await asyncio.sleep(WIRE_S)
            raise StoreUnavailable("The gateway's store cannot be reached.")
        await super().wait_for_work(timeout_s)

    async def read(self, count):
        return await self._wire("read", count, lambda: super(DistantJobs, self).read(count))

    async def drop(self, tokens):
        await self._wire("drop", tokens, lambda: super(DistantJobs, self).drop(tokens))


class DistantOwn(MemoryOwn):
    """What is the keys' own, at the end of the same wire."""

    def __init__(self, wire: DistantJobs, store: MemoryStore, process: str) -> None:
        super().__init__(store, process)
        self._wire = wire._wire

    async def options(self, key_id):
        return await self._wire("options", key_id, lambda: super(DistantOwn, self).options(key_id))

    async def change_options(self, key_id, change):
        return await self._wire(
            "change_options", change, lambda: super(DistantOwn, self).change_options(key_id, change)
        )

    async def look_at(self, look):
        return await self._wire("look_at", look, lambda: super(DistantOwn, self).look_at(look))

    async def show(self, job_id, shown, preview, watchers):
        return await self._wire("show", job_id, lambda: super(DistantOwn, self).show(job_id, shown, preview, watchers))


@dataclass
class Keys:
    """A key store: callers by the digest of their key."""

    callers: dict[str, Caller] = field(default_factory=lambda: {digest_of(KEY): CALLER})
    asked: int = 0
    takes_s: float = WIRE_S

    async def find_caller(self, digest: str) -> Caller | None:
        self.asked += 1
        found = self.callers.get(digest)
        await asyncio.sleep(self.takes_s)
        return found


@dataclass
class MemoryLedger:
    """The ledger: each job once, but for those `refused`. `used_before` is what earlier jobs used of every quota."""

    records: dict[str, Record] = field(default_factory=dict)
    used_before: float = 0.0
    asked: list[tuple[str, Measure, Window, float]] = field(default_factory=list)
    is_away: bool = False
    refused: set[str] = field(default_factory=set)
    noted: dict[float, Count] = field(default_factory=dict)

    async def insert(self, records: Sequence[Record]) -> Mapping[str, str]:
        await asyncio.sleep(WIRE_S)
        if self.is_away:
            raise StoreUnavailable("The database cannot be reached.")
        for record in records:
            kept = self.records.get(record.job_id)
            if record.job_id not in self.refused and (kept is None or kept.outcome is Outcome.LOST):
                self.records[record.job_id] = record
        return {record.job_id: "no" for record in records if record.job_id in self.refused}

    async def note_count(self, count: Count) -> None:
        await asyncio.sleep(WIRE_S)
        if self.is_away:
            raise StoreUnavailable("The database cannot be reached.")
        self.noted[count.since] = count

    async def counts(self) -> list[Count]:
        return list(self.noted.values())

    async def find(self, job_id: str) -> Record | None:
        return self.records.get(job_id)

    async def recorded(self, since: float, until: float) -> int:
        return sum(since <= record.entered_at <= until for record in self.records.values())

    async def recorded_of(self, job_ids: Sequence[str]) -> int:
        return sum(job_id in self.records for job_id in job_ids)

    async def used(self, tenant_id: str, measure: Measure, window: Window, since: float) -> float:
        self.asked.append((tenant_id, measure, window, since))
        await asyncio.sleep(WIRE_S)
        if self.is_away:
            raise StoreUnavailable("The database cannot be reached.")
        return self.used_before


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.others: list[tuple[str, dict[str, Any]]] = []

    def call(self, **fields: Any) -> None:
        self.calls.append(fields)

    def tell(self, event: str, **fields: Any) -> None:
        self.others.append((event, fields))

    def warn(self, event: str, **fields: Any) -> None:
        self.others.append((event, fields))

    def failed(self, event: str, error: BaseException, **fields: Any) -> None:
        self.others.append((event, {"error": error, **fields}))


class Process:
    """The flow of one gateway process over shared stores."""

    def __init__(self, name: str, store: MemoryStore, backends: SimulatedBackends, keys: Keys, ledger: MemoryLedger):
        self.jobs = DistantJobs(store, name)
        self.log = Lines()
        self.held, self.epoch, self.current = HeldJobs(), Epoch(), CurrentCatalogue()
        self.way_out = Exit(self.jobs, self.held)
        self.own = DistantOwn(self.jobs, store, name)
        attendant = Attendant(backends, self.own)
        self.forwarder = Forwarder(backends, self.jobs, lambda: backends.declared, self.current, attendant)
        self.upkeep = Upkeep(backends, self.jobs, self.jobs, self.held)
        self.reloader = Reloader(backends, self.jobs, self.upkeep, self.log)
        self.faults = faults_of(self.reloader, self.current)
        self.gateway = Gateway(
            authenticator=Authenticator(keys, self.epoch, lambda: 0.0),
            entrance=Entrance(self.jobs, ledger, self.held),
            forwarder=self.forwarder,
            way_out=self.way_out,
            faults=self.faults,
            jobs=self.jobs,
            epoch=self.epoch,
            current=self.current,
            options=OwnOptions(self.own),
            work=OwnWork(self.own, self.held),
            operator=OperatorPolicy(),
            log=self.log,
        )
        self.pulse = Pulse(self.jobs, self.jobs, self.held, self.way_out, self.epoch, self.current)
        self.dispatcher = Dispatcher(self.jobs)
        seen, declared = lambda: self.dispatcher.pool, lambda: tuple(backends.declared.values())
        self.rescans = Rescanner(declared, self.jobs, self.upkeep, self.current, pool_seen=seen)
        self.watcher = Watcher(declared, self.jobs, self.upkeep, self.current, self.log, pool_seen=seen)
        self.bookkeeper = Bookkeeper(self.jobs, ledger, lambda: self.dispatcher.is_leading, self.log)
        self.failures: list[tuple[str, BaseException]] = []
        self.supervisor = Supervisor(lambda loop, error: self.failures.append((loop, error)))
        self.supervisor.add("heartbeat", self.pulse.beat_for_ever)
        self.supervisor.add("listener", self.pulse.listen_for_ever)
        self.supervisor.add("dispatcher", self.dispatcher.run)
        self.supervisor.add("watcher", self.watcher.run)
        self.supervisor.add("rescans", self.rescans.run)
        self.supervisor.add("reloads", lambda: self.reloader.run(lambda: backends.declared))
        self.supervisor.add("foresight", Foresight(self.dispatcher, self.jobs).run)
        self.supervisor.add("ledger", self.bookkeeper.run)

    async def ask(self, key: str | None = KEY, operation: Operation = Operation.TXT2IMG, **fields: Any) -> Served:
        """A small picture with the first model, unless `fields` say otherwise."""
        body = {"prompt": "a cat", "steps": 4, "width": 64, "height": 64, "sd_model_checkpoint": "red"} | fields
        return await self.gateway.serve(Call(operation, json.dumps(body).encode(), key, "req-1"))


@dataclass
class World:
    """All that a test may look at or touch. `process` is the first, which leads from the start."""

    store: MemoryStore
    backends: SimulatedBackends
    keys: Keys
    ledger: MemoryLedger
    processes: list[Process]
    loops: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    calls: list[asyncio.Task[Served]] = field(default_factory=list)

    @property
    def process(self) -> Process:
        return self.processes[0]

    async def ask(self, **fields: Any) -> Served:
        return await self.process.ask(**fields)

    def asking(self, process: Process | None = None, **fields: Any) -> asyncio.Task[Served]:
        """A call under way."""
        call = asyncio.get_running_loop().create_task((process or self.process).ask(**fields), name="call")
        self.calls.append(call)
        return call

    def add_process(self, name: str) -> Process:
        """One more gateway process, its loops running."""
        process = Process(name, self.store, self.backends, self.keys, self.ledger)
        self.processes.append(process)
        self.loops[name] = asyncio.get_running_loop().create_task(process.supervisor.run(), name=f"loops of {name}")
        return process

    async def kill(self, process: Process) -> None:
        """Stop its loops, as the end of the process does."""
        (name,) = (name for name, task in self.loops.items() if process.jobs._process == name)
        self.loops[name].cancel()
        await asyncio.wait([self.loops[name]])

    async def end(self) -> list[BaseException | None]:
        """Stop every call and every loop; how the loops ended."""
        for tasks in (self.calls, list(self.loops.values())):
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        return ended

    def holdings(self) -> dict[str, object]:
        """Everything that jobs can hold, anywhere; see `nothing_held`."""
        return {
            "outstanding": self.store.of(),
            "slots": {name: slot.job_id for name, slot in self.store.slots.items()},
            "held": [job_id for process in self.processes for job_id in process.held._jobs],
            "unheard": sum(process.way_out.unheard for process in self.processes),
        }

    async def settle(self, within_s: float = 30.0) -> dict[str, object]:
        """What is still held `within_s` seconds from now at the latest, sooner if nothing is."""
        deadline = now() + within_s
        while self.holdings() != NOTHING_HELD and now() < deadline:  # noqa: ASYNC110 - as in `until`
            await asyncio.sleep(0.1)
        return self.holdings()

    async def records(self) -> list[Record]:
        """The ledger, once the outbox is empty."""
        await until(lambda: not self.store.outbox)
        return list(self.ledger.records.values())

    async def outcomes(self) -> list[tuple[Outcome, str]]:
        """How jobs ended, and on which backend."""
        return [(record.outcome, record.backend) for record in await self.records()]


NOTHING_HELD: dict[str, object] = {"outstanding": [], "slots": {}, "held": [], "unheard": 0}


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], T], within_s: float = 60.0) -> T:
    """The first true value of `condition`, looked at ten times a (virtual) second."""
    async with asyncio.timeout(within_s):
        while not (value := condition()):  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0.1)
    return value


@asynccontextmanager
async def running(
    pool: Mapping[str, SimulationOptions] | None = None, *, caller: Caller = CALLER, ready: bool = True
) -> AsyncIterator[World]:
    """A world with one process, back when every backend is up. After it no task may be left."""
    before = asyncio.all_tasks()
    store, keys, ledger = LoopStore(), Keys({digest_of(KEY): caller}), MemoryLedger()
    async with SimulatedBackends(pool or {"a": sdnext()}) as backends:
        world = World(store, backends, keys, ledger, [])
        process = world.add_process("one")
        try:
            if ready:
                await until(lambda: process.current.catalogue.backends and set(store.states.values()) == {"up"})
                await until(lambda: not store.slots and store.loaded.keys() >= backends.servers.keys())
            yield world
        finally:
            ended = await world.end()
    assert [error for error in ended if isinstance(error, Exception)] == [], "loops gave up"
    assert asyncio.all_tasks() - before == set()

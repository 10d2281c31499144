"""The two worlds the job store's contract is checked in: the oracle in memory, and the scripts in a real Valkey."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import RedisJobs
from gateway.adapters.redis.outbox import RedisOutbox
from gateway.adapters.redis.pool import RedisPool
from gateway.domain.jobs import Outcome
from gateway.domain.limits import MICROSECONDS
from gateway.ports import Admitted, Entry, Granted, JobStore, Leaving, Outbox, PoolNews, PoolStore, Queued, Rate
from tests.support.memory_jobs import MemoryJobs
from tests.support.memory_store import MemoryStore
from tests.support.patience import PATIENCE_S

STATIC = msgspec.json.encode({"tenant_id": "t", "key_id": "k", "operation": "txt2img", "model": "m"})
START_US = 1_800_000_000 * MICROSECONDS
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Process:
    """One gateway process as the store sees it."""

    name: str
    jobs: Any  # JobStore and Announcer
    pool: PoolStore
    outbox: Outbox


class World(Protocol):
    """A store, a clock that only the test moves far, and processes."""

    def process(self, name: str) -> Process: ...
    def fast_forward(self, seconds: float) -> None: ...
    async def now_us(self) -> int: ...
    async def lose_everything(self) -> None: ...
    async def close(self) -> None: ...


class MemoryWorld:
    """The oracle."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def process(self, name: str) -> Process:
        jobs = MemoryJobs(self.store, name)
        return Process(name, jobs, jobs, jobs)

    def fast_forward(self, seconds: float) -> None:
        self.store.fast_forward(seconds)

    async def now_us(self) -> int:
        return self.store.now_us

    async def lose_everything(self) -> None:
        self.store.lose_everything()

    async def close(self) -> None:
        """Nothing to close."""


class RedisWorld:
    """The scripts; every process has its own connection, and all go by one clock, which stands still."""

    def __init__(self, url: str, namespace: str, connection_type: type[Connection] = Connection) -> None:
        self._url, self._namespace, self._type = url, namespace, connection_type
        self._now_us = START_US
        self.connections: list[Connection] = []
        self.plain = self._connect()

    def _connect(self) -> Connection:
        # A test shares its two cores with others: a slow answer here is no silent server.
        self.connections.append(self._type(self._url, self._namespace, timeout_s=PATIENCE_S, now_us=self._now_us))
        return self.connections[-1]

    def process(self, name: str) -> Process:
        connection = self._connect()
        return Process(name, RedisJobs(connection, name), RedisPool(connection, name), RedisOutbox(connection))

    def fast_forward(self, seconds: float) -> None:
        self._now_us += round(seconds * MICROSECONDS)
        for connection in self.connections:
            connection.now_us = self._now_us

    async def now_us(self) -> int:
        return self._now_us

    async def lose_everything(self) -> None:
        await self.plain.command("FLUSHALL")

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()


def new_id(kind: str = "op") -> str:
    """An id no other call got."""
    return f"{kind}{next(_numbers):06}"  # in one moment the store orders by id


def entry(epoch: str, **changes: Any) -> Entry:
    """A job of tenant `t` that runs anywhere and may wait."""
    values: dict[str, Any] = {
        "operation_id": new_id(),
        "job_id": new_id("job"),
        "tenant_id": "t",
        "epoch": epoch,
        "checkpoint": "m",
        "runnable_on": ("a", "b"),
        "max_concurrency": 2,
        "max_queued": 3,
        "static": STATIC,
        "ticket": b'{"n":1}',
    }
    return Entry(**(values | changes))


def leaving(job_id: str, **changes: Any) -> Leaving:
    """The job finished."""
    values: dict[str, Any] = {"operation_id": new_id(), "job_id": job_id, "outcome": Outcome.FINISHED}
    return Leaving(**(values | changes))


async def live_on(world: World, process: Process, seconds: float) -> None:
    """Let time pass in which this process is heard every two seconds, as one that lives."""
    await process.jobs.beat(0)
    while seconds > 0:
        world.fast_forward(min(2.0, seconds))
        await process.jobs.beat(0)
        seconds -= 2.0


async def publish(process: Process, **news: Any) -> None:
    """Tell the pool's news."""
    await process.pool.publish(new_id(), PoolNews(**news))


async def pool_up(process: Process, *backends: str, loaded: str = "m") -> str:
    """Backends that are up and have `loaded`, as the leader found them; gives the epoch."""
    await process.pool.poll(from_scratch=False)
    await publish(process, states=dict.fromkeys(backends, "up"), loaded=dict.fromkeys(backends, loaded))
    return await process.jobs.epoch()


async def granted(jobs: JobStore, asked: Entry) -> Granted:
    """Enter a job that must run at once."""
    answer = await jobs.enter(asked)
    assert isinstance(answer, Admitted), answer
    assert isinstance(answer.place, Granted), answer
    return answer.place


async def queued(jobs: JobStore, asked: Entry) -> Queued:
    """Enter a job that must wait."""
    answer = await jobs.enter(asked)
    assert isinstance(answer, Admitted), answer
    assert isinstance(answer.place, Queued), answer
    return answer.place


def rate(per_minute: float = 60.0, burst: int = 2, subject: str = "t:t") -> Rate:
    """A rate of tenant `t`."""
    return Rate(subject, per_minute, burst)

"""A history of operations carried out by the scripts and by the oracle at once, at the very same times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import redis

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.scripts import Script
from gateway.domain.limits import MICROSECONDS
from gateway.ports import Admitted, Beat, Entry, SeedsNeeded
from tests.adapters.redis.state import check_invariants, state_of_memory, state_of_redis
from tests.contracts.job_worlds import MemoryWorld, Process, RedisWorld, new_id

CAPS = {"t0": 1, "t1": 2, "t2": 3}
BACKENDS = ("a", "b", "c d")
CHECKPOINTS = ("", "m", "n n")

TICK_S = 0.000_001

Operation = Callable[[Process], Awaitable[Any]]


class WatchedConnection(Connection):
    """Remembers the server's time in the last script's answer, in microseconds."""

    last_us = 0

    async def run(self, script: Script, operation_id: str, *arguments: str | bytes | int) -> list[Any]:
        reply = await super().run(script, operation_id, *arguments)
        self.last_us = int(reply[0] if script.name == "heartbeat" else reply[1])
        return reply


class Twins:
    """Both worlds with three processes each. Every operation's answer and the state after it must be equal."""

    def __init__(self, client: redis.Redis, url: str) -> None:
        self._client = client
        self._namespace = new_id("twins")
        self.redis = RedisWorld(url, self._namespace, WatchedConnection)
        self.memory = MemoryWorld()
        self.memory.store.now_us = 0  # it takes over the server's clock with every answer
        names = ("p0", "p1", "p2")
        self._pairs = [(self.redis.process(name), self.memory.process(name)) for name in names]
        self.known_jobs: list[str] = []
        self.epoch = ""
        self._done: list[tuple[int, Operation, Any]] = []
        self._dropped: Counter[str] = Counter()

    async def begin(self) -> None:
        """The first heartbeat, after which both worlds have the same generation and epoch."""
        beat = await self._pairs[0][0].jobs.beat(0)
        self.memory.store.generation, self.memory.store.epoch = beat.generation, beat.epoch
        self.memory.store.counting_since_us = round(beat.at * MICROSECONDS)
        self.epoch = beat.epoch
        await self.both(0, lambda process: process.jobs.beat(0))

    async def close(self) -> None:
        await self.redis.process("last").jobs.beat(0)
        await self.redis.close()

    async def both(self, process: int, operation: Operation) -> Any:
        """Carry it out in both worlds, compare, and give the answer."""
        in_redis, in_memory = self._pairs[process]
        self.redis.fast_forward(TICK_S)  # two that entered in one moment have no order of their own
        answer = await operation(in_redis)
        latest = max(connection.last_us for connection in self.redis.connections)
        self.memory.store.now_us = max(self.memory.store.now_us, latest)
        assert answer == await operation(in_memory)
        self.compare()
        return answer

    async def once(self, process: int, operation: Operation) -> Any:
        """As `both`, for an operation that carries an operation id, so that it may be repeated later."""
        answer = await self.both(process, operation)
        self._done.append((process, operation, answer))
        return answer

    async def repeat(self, which: int) -> None:
        """Carry out an earlier operation again, under its id: the first answer, and nothing changes."""
        if not self._done:
            return
        process, operation, answer = self._done[which % len(self._done)]
        before = self._state()
        assert await self.both(process, operation) == answer
        assert self._state() == before

    def compare(self) -> None:
        """Equal state, and the invariants."""
        state, expected = self._state(), state_of_memory(self.memory.store)
        assert {name: state[name] for name in expected} == expected
        check_invariants(state, CAPS, self._dropped)

    def _state(self) -> dict[str, Any]:
        return state_of_redis(self._client, self._namespace, self.memory.store.now_us)

    def fast_forward(self, seconds: float) -> None:
        """Let time pass in both."""
        self.redis.fast_forward(seconds)
        self.memory.fast_forward(seconds)

    def job(self, which: int) -> str:
        """One of the jobs that ever asked, or one that nobody knows."""
        return self.known_jobs[which % len(self.known_jobs)] if self.known_jobs else "nobody"

    def mark(self, backend: str) -> str:
        """The slot's mark as the watcher knows it."""
        slot = self.memory.store.slots.get(backend)
        return slot.mark if slot else "free"

    async def enter(self, process: int, asked: Entry, seed: float) -> None:
        """As the flow enters: where the store asks for seeds, once more with them."""
        self.known_jobs.append(asked.job_id)
        answer = await self.once(process, lambda p: p.jobs.enter(asked))
        if isinstance(answer, SeedsNeeded):
            seeds = {(measure, window): seed for measure, window, _ in answer.windows}
            again = replace(asked, operation_id=new_id(), seeds=seeds)
            answer = await self.once(process, lambda p: p.jobs.enter(again))
        assert isinstance(answer, Admitted) == (asked.job_id in self.memory.store.jobs)

    async def keys_changed(self) -> None:
        """A new epoch, which is random: the oracle takes over Redis's."""
        process = self._pairs[0][0]
        await process.jobs.keys_changed()
        self.epoch = self.memory.store.epoch = await process.jobs.epoch()

    async def next_message(self, process: int) -> None:
        """What waits for the process, if anything does."""
        name = self._pairs[process][0].name
        if self.memory.store.mailboxes[name].woken:
            await self.both(process, lambda p: p.jobs.next_message(5))

    async def drop_records(self, count: int) -> None:
        """Read the oldest records and drop them, in each world by its own tokens."""

        async def read_and_drop(process: Process) -> list[Any]:
            kept = await process.outbox.read(count)
            await process.outbox.drop([token for token, _ in kept])
            return [record for _, record in kept]

        # The count of what was dropped must be right before the invariants are checked.
        expected = [record for _, record in await self._pairs[0][1].outbox.read(count)]
        self._dropped.update(record.job_id for record in expected)
        assert await self.both(0, read_and_drop) == expected

    async def beat(self, process: int, held_count: int) -> Beat:
        """A heartbeat; reaping gives many records at once."""
        return await self.both(process, lambda p: p.jobs.beat(held_count))

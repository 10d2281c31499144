"""The pool's shared state in Redis: the dispatcher's lease and view, slots for upkeep, what the watcher found.

Fulfils `ports.PoolStore`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import seconds
from gateway.adapters.redis.outlook import JOB, prospect_of, words_of
from gateway.adapters.redis.scripts import load_script
from gateway.domain.backends import FIT, Condition
from gateway.domain.limits import MICROSECONDS
from gateway.domain.queue import JobLine
from gateway.domain.scheduling import Forecast, Prospect
from gateway.ports import BegunJob, PoolChanges, PoolNews, SlotView, WaitingJob

MEMORY_MS = 30 * 86_400_000
WISH_MS = 3_600_000
_STATES = MappingProxyType({"w": "waiting", "r": "running", "c": "closed"})


class RedisPool:
    """One process's access to the pool's state."""

    def __init__(self, connection: Connection, process: str) -> None:
        self._connection = connection
        self._process = process
        self._cursor = ""

    async def poll(self, *, from_scratch: bool) -> PoolChanges | None:
        """Take or renew the dispatcher's lease and read what changed; None when another process holds it."""
        cursor = "" if from_scratch else self._cursor
        reply = await self._connection.run(load_script("poll"), "", self._process, cursor)
        if reply[0] == b"follower":
            return None
        self._cursor = reply[3].decode()
        _, at, extent, _, arrived, left, slots, loaded, states, began, conditions = reply
        triples = zip(arrived[0::3], arrived[1::3], arrived[2::3], strict=True)
        return PoolChanges(
            at=seconds(at),
            is_all=extent == b"all",
            arrived=tuple(WaitingJob(job.decode(), seconds(entered), ticket) for job, entered, ticket in triples),
            left=tuple(job.decode() for job in left),
            slots={name: _slot(name, held) for name, held in _pairs(slots)},
            loaded=dict(_pairs(loaded)),
            states=dict(_pairs(states)),
            began=tuple(
                BegunJob(job.decode(), seconds(started), seconds(ended), ticket)
                for job, started, ended, ticket in zip(*(began[i::4] for i in range(4)), strict=True)
            ),
            conditions={name: _condition(raw) for name, raw in _pairs(conditions)},
        )

    async def grant(
        self, operation_id: str, grants: Sequence[tuple[str, str]], why: Mapping[str, str] | None = None
    ) -> list[str]:
        """Carry out (job, backend) decisions; a word for each: granted, gone, taken, cap, deposed."""
        words = [word for job, backend in grants for word in (job, backend, (why or {}).get(job, ""))]
        reply = await self._connection.run(load_script("grant"), operation_id, self._process, *words)
        if reply[0] == b"deposed":
            return ["deposed"] * len(grants)
        return [word.decode() for word in reply[2:]]

    async def hold(self, operation_id: str, job_id: str, backend: str, *, is_under_way: bool = False) -> bool:
        """Take a free backend's slot for upkeep; it is given back by `JobStore.leave`."""
        words = (self._process, job_id, backend, int(is_under_way))
        reply = await self._connection.run(load_script("hold"), operation_id, *words)
        return bool(reply[0] == b"held")

    async def publish(self, operation_id: str, news: PoolNews) -> None:
        """Let every process know."""
        arguments = {
            "states": news.states,
            "conditions": {name: msgspec.json.encode(it).decode() for name, it in news.conditions.items() if it != FIT},
            "loaded": news.loaded,
            "quiet": news.quiet,
            "removed": news.removed,
        }
        inventories = [word for pair in news.inventories.items() for word in pair]
        await self._connection.run(load_script("publish"), operation_id, msgspec.json.encode(arguments), *inventories)

    async def standings(self) -> Mapping[str, tuple[str, Condition]]:
        """Every backend's last published state, with its condition."""
        keys = (self._connection.key(name) for name in ("bstate", "bcondition"))
        states, conditions = await self._connection.pipeline([("HGETALL", key) for key in keys])
        why = {name: _condition(raw) for name, raw in _items(conditions)}
        return {name: (state, why.get(name, FIT)) for name, state in _items(states)}

    async def inventories(self) -> Mapping[str, bytes]:
        """The last published inventory of each backend, as JSON."""
        raw = await self._connection.command("HGETALL", self._connection.key("catalogue"))
        items = raw.items() if isinstance(raw, dict) else zip(raw[0::2], raw[1::2], strict=True)
        return {name.decode(): inventory for name, inventory in items}

    async def wish_rescan(self, wish: str) -> None:
        """Leave a wish for a rescan of the pool, in place of any earlier one; it is kept for an hour."""
        await self._connection.command("SET", self._connection.key("rescan"), wish, "PX", WISH_MS)

    async def rescan_wish(self) -> str:
        """The last wish for a rescan, "" for none."""
        return bytes(await self._connection.command("GET", self._connection.key("rescan")) or b"").decode()

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when the dispatcher has something to do, or when the time is up."""
        await self._connection.pop(f"wake:{self._process}:d", timeout_s)

    async def resign(self) -> None:
        """Give the dispatcher's lease up, so that another process takes it at once."""
        await self._connection.run(load_script("resign"), "", self._process)

    async def remember(self, memory: bytes) -> None:
        """Keep what the scheduler must know over a change of leader: accounts, learned speeds, as JSON."""
        await self._connection.command("SET", self._connection.key("scheduler"), memory, "PX", MEMORY_MS)

    async def foretell(self, forecast: Forecast) -> bool:
        """Publish the forecast for some seconds, in place of the one before; False without the lease."""
        reply = await self._connection.run(load_script("foretell"), "", self._process, *words_of(forecast))
        return bool(reply[0] == b"foretold")

    async def memory(self) -> bytes:
        """What was kept last, empty if nothing was."""
        return bytes(await self._connection.command("GET", self._connection.key("scheduler")) or b"")

    async def queue(self) -> tuple[PoolChanges, Mapping[str, Prospect]]:
        """Every waiting job in order of entry, and the whole pool; and what was foretold of each job, by id."""
        _, at, waiting, slots, loaded, states, outlook = await self._connection.run(load_script("queue"), "")
        triples = zip(waiting[0::3], waiting[1::3], waiting[2::3], strict=True)
        seen = PoolChanges(
            at=seconds(at),
            is_all=True,
            arrived=tuple(WaitingJob(job.decode(), seconds(entered), ticket) for job, entered, ticket in triples),
            left=(),
            slots={name: _slot(name, held) for name, held in _pairs(slots)},
            loaded=dict(_pairs(loaded)),
            states=dict(_pairs(states)),
        )
        lines = zip(outlook[0::2], outlook[1::2], strict=True)
        return seen, {
            name.decode().removeprefix(JOB): prospect_of(value)
            for name, value in lines
            if name.startswith(JOB.encode())
        }

    async def prospect(self, job_id: str) -> Prospect | None:
        """What was foretold of a waiting job."""
        value = await self._connection.command("HGET", self._connection.key("outlook"), f"{JOB}{job_id}")
        return prospect_of(value) if value else None

    async def job(self, job_id: str) -> JobLine | None:
        """One job, open or closed within the last hour; None if the store does not know it."""
        names = ("state", "tenant", "proc", "checkpoint", "backend", "why", "entered", "started")
        values = await self._connection.command("HMGET", self._connection.key(f"job:{job_id}"), *names)
        if values[0] is None:
            return None
        state, tenant, process, model, backend, why = ((value or b"").decode() for value in values[:6])
        entered_at, started_at = (seconds(value or b"0") for value in values[6:])
        return JobLine(job_id, _STATES[state], tenant, process, model, backend, entered_at, started_at, why)


def _pairs(flat: list[bytes]) -> Iterator[tuple[str, str]]:
    return ((name.decode(), value.decode()) for name, value in zip(flat[0::2], flat[1::2], strict=True))


def _items(reply: dict[bytes, bytes] | list[bytes]) -> Iterator[tuple[str, str]]:
    """A hash as it comes: from Redis as a dictionary or, by the older protocol, as a flat list."""
    flat = [word for pair in reply.items() for word in pair] if isinstance(reply, dict) else reply
    return _pairs(flat)


def _condition(raw: str) -> Condition:
    return msgspec.json.decode(raw, type=Condition)


def _slot(backend: str, held: str) -> SlotView:
    first, second, since = held.split(" ")
    if first == "!":
        return SlotView(backend, second, "", int(since) / MICROSECONDS, is_recovering=True, mark=held)
    return SlotView(backend, first, second, int(since) / MICROSECONDS, is_recovering=False, mark=held)

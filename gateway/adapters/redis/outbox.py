"""Closed records on their way from Redis into the ledger. Fulfils `ports.Outbox` and `ports.Tallies`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.scripts import load_script
from gateway.domain.jobs import Operation, Outcome
from gateway.domain.limits import MICROSECONDS
from gateway.domain.reconciliation import Count, Tally
from gateway.domain.usage import Record


class RedisOutbox:
    """The stream of closed records; reading leaves them there, so a writer that dies loses none."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = connection.key("outbox")

    async def read(self, count: int) -> Sequence[tuple[str, Record]]:
        """The oldest records with their tokens; they stay until dropped."""
        reply = await self._connection.command("XRANGE", self._key, "-", "+", "COUNT", count)
        return [(token.decode(), record_of(_fields(flat))) for token, flat in reply]

    async def drop(self, tokens: Sequence[str]) -> None:
        """Forget records that the ledger has."""
        if tokens:
            await self._connection.command("XDEL", self._key, *tokens)

    async def admitted(self) -> Count:
        """How many jobs were admitted since the store's data began; since 0.0 where nothing was counted yet."""
        since, count = await self._connection.command("HMGET", self._connection.key("admitted"), "since", "count")
        return Count(int(since or 0) / MICROSECONDS, int(count or 0))

    async def tally(self) -> Tally:
        """What was admitted and has no record in the ledger yet, at one moment."""
        _, at, since, admitted, open_jobs, *pairs = await self._connection.run(load_script("tally"), "")
        jobs = [(job.decode(), int(us) / MICROSECONDS) for job, us in zip(pairs[0::2], pairs[1::2], strict=True)]
        return Tally(
            at=int(at) / MICROSECONDS,
            count=Count(int(since) / MICROSECONDS, int(admitted)),
            open=dict(jobs[: int(open_jobs)]),
            unwritten=dict(jobs[int(open_jobs) :]),
        )


def record_of(fields: dict[bytes, bytes]) -> Record:
    """A record from its entry in the stream: stamps of the scripts, and the two JSON parts of the process."""
    parts: dict[str, Any] = msgspec.json.decode(fields[b"static"]) | msgspec.json.decode(fields[b"final"])
    parts["operation"] = Operation(parts["operation"])
    if b"why" in fields:
        parts["why"] = fields[b"why"].decode()
    return Record(
        job_id=fields[b"job"].decode(),
        outcome=Outcome(fields[b"outcome"].decode()),
        backend=fields[b"backend"].decode(),
        entered_at=int(fields[b"entered"]) / 1e6,
        started_at=int(fields[b"started"]) / 1e6,
        ended_at=int(fields[b"ended"]) / 1e6,
        **parts,
    )


def _fields(flat: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - a list of pairs, or a mapping, by protocol version
    if isinstance(flat, dict):
        return flat
    return dict(zip(flat[0::2], flat[1::2], strict=True))

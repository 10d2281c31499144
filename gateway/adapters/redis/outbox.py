"""Closed records on their way from Redis into the ledger. Fulfils `ports.Outbox` and `ports.Tallies`.

A record that the ledger cannot keep is moved into the hash `aside`, as it came, by the token it had in the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.scripts import load_script
from gateway.domain.limits import MICROSECONDS
from gateway.domain.reconciliation import Count, Tally
from gateway.domain.usage import Record
from gateway.ports import Unreadable


class RedisOutbox:
    """The stream of closed records; reading leaves them there, so a writer that dies loses none."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._key = connection.key("outbox")
        self._aside = connection.key("aside")

    async def read(self, count: int) -> Sequence[tuple[str, Record | Unreadable]]:
        """The oldest records with their tokens; they stay until dropped or set aside."""
        reply = await self._connection.command("XRANGE", self._key, "-", "+", "COUNT", count)
        return [(token.decode(), record_of(_fields(flat))) for token, flat in reply]

    async def set_aside(self, token: str, why: str) -> None:
        """Keep that record apart. Ended half way it is there twice, and repeated it is kept once."""
        for _, flat in await self._connection.command("XRANGE", self._key, token, token):
            kept = _Aside(why, _fields(flat))
            await self._connection.command("HSET", self._aside, token, msgspec.msgpack.encode(kept))
        await self.drop([token])

    async def aside(self) -> Mapping[str, str]:
        """What was set aside: by token, why."""
        return {token: one.why for token, one in (await self._all_aside()).items()}

    async def aside_count(self) -> int:
        """How many were."""
        return int(await self._connection.command("HLEN", self._aside))

    async def ask_again(self, tokens: Sequence[str]) -> None:
        """Back into the stream with those. Ended half way one is there twice, which the ledger keeps once."""
        kept = await self._all_aside()
        for token in tokens:
            if token in kept:
                words = [word for pair in kept[token].fields.items() for word in pair]
                await self._connection.command("XADD", self._key, "*", *words)
                await self._connection.command("HDEL", self._aside, token)

    async def _all_aside(self) -> dict[str, _Aside]:
        raw = await self._connection.command("HGETALL", self._aside)
        return {token.decode(): msgspec.msgpack.decode(kept, type=_Aside) for token, kept in _fields(raw).items()}

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
        apart = [one.fields for one in (await self._all_aside()).values()]
        jobs += [(one[b"job"].decode(), int(one[b"entered"]) / MICROSECONDS) for one in apart if b"entered" in one]
        return Tally(
            at=int(at) / MICROSECONDS,
            count=Count(int(since) / MICROSECONDS, int(admitted)),
            open=dict(jobs[: int(open_jobs)]),
            unwritten=dict(jobs[int(open_jobs) :]),
        )


@dataclass(frozen=True, slots=True)
class _Aside:
    why: str
    fields: dict[bytes, bytes]


def record_of(fields: dict[bytes, bytes]) -> Record | Unreadable:
    """A record from its entry in the stream: stamps of the scripts, and the two JSON parts of the process.

    What a newer gateway has added to them is left out; what is not of the type it should be makes it unreadable.
    """
    try:
        parts: dict[str, Any] = msgspec.json.decode(fields[b"static"]) | msgspec.json.decode(fields[b"final"])
        stamps = {name: int(fields[name.encode()]) / 1e6 for name in ("entered", "started", "ended")}
        words = {
            name: fields[name.encode()].decode() for name in ("outcome", "backend", "why") if name.encode() in fields
        }
        whole = {
            **parts,
            **words,
            **{f"{name}_at": at for name, at in stamps.items()},
            "job_id": fields[b"job"].decode(),
        }
        return msgspec.convert(whole, Record)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, OverflowError) as error:
        return Unreadable(fields.get(b"job", b"").decode(errors="replace"), f"{type(error).__name__}: {error}")


def _fields(flat: Any) -> dict[bytes, bytes]:  # noqa: ANN401 - a list of pairs, or a mapping, by protocol version
    if isinstance(flat, dict):
        return flat
    return dict(zip(flat[0::2], flat[1::2], strict=True))

"""Closed records on their way from Redis into the ledger. Fulfils `ports.Outbox`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.domain.jobs import Operation, Outcome
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


def record_of(fields: dict[bytes, bytes]) -> Record:
    """A record from its entry in the stream: stamps of the scripts, and the two JSON parts of the process."""
    parts: dict[str, Any] = msgspec.json.decode(fields[b"static"]) | msgspec.json.decode(fields[b"final"])
    parts["operation"] = Operation(parts["operation"])
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

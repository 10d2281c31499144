"""What is one key's own in Redis: virtual options, and what its jobs do. Fulfils `OptionStore` and `OwnJobStore`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.jobs import seconds
from gateway.adapters.redis.outlook import prospect_of
from gateway.adapters.redis.scripts import load_script
from gateway.domain.limits import interval_us
from gateway.ports import Expectation, Kept, Look, OptionChange, OwnJob, OwnJobs, Posted, Rate, RateState

MODEL = "sd_model_checkpoint"
MOST_OPTIONS = 128
"""How many options one key may have in all; beyond them unknown ones are not remembered."""


class RedisOwn:
    """One process's access to what is the keys' own; `process` is its name in the store."""

    def __init__(self, connection: Connection, process: str) -> None:
        self._connection = connection
        self._process = process

    async def options(self, key_id: str) -> Posted:
        """What the key has posted."""
        version, raw = await self._connection.pipeline(
            [
                ("GET", self._connection.key(f"options_version:{key_id}")),
                ("HGETALL", self._connection.key(f"options:{key_id}")),
            ],
            may_probe=False,  # a call waits for it
        )
        pairs = raw.items() if isinstance(raw, dict) else zip(raw[0::2], raw[1::2], strict=True)
        values = {name.decode(): msgspec.json.decode(value) for name, value in pairs}
        return Posted(values, version.decode() if version else "")

    async def change_options(self, key_id: str, change: OptionChange) -> Kept:
        """Change them, all at once."""
        unless_shown = _text(change.unless_shown) if change.unless_shown else ""
        about = {"key": key_id, "most": MOST_OPTIONS, "unless_shown": unless_shown, "model": MODEL}
        reply = await self._connection.run(
            load_script("options"),
            secrets.token_hex(8),
            msgspec.json.encode(about),
            _texts(change.keep),
            _texts(change.remember),
            msgspec.json.encode(sorted(change.forget)),
        )
        return Kept(frozenset(name.decode() for name in reply[1:]), is_refused=reply[0] == b"refused")

    async def look_at(self, look: Look) -> OwnJobs:
        """The key's jobs; the processes that hold them are told that somebody looks."""
        about = {
            "key": look.key_id,
            "process": self._process,
            "preview": look.with_preview,
            "wish": look.wish,
            "task": look.task_id,
        }
        at, waiting, *jobs = await self._connection.run(load_script("look"), "", msgspec.json.encode(about))
        return OwnJobs(tuple(_own_job(job) for job in jobs), int(waiting), seconds(at))

    async def expect(self, tenant_id: str, checkpoint: str, rate: Rate) -> Expectation:
        """What one more call of this tenant would meet now; nothing is taken."""
        about = (tenant_id, checkpoint, rate.subject, interval_us(rate.per_minute), rate.burst)
        _, _, wait, ahead, left, reset = await self._connection.run(load_script("expect"), "", *about)
        wait_s = max(seconds(wait), seconds(ahead)) if wait else None
        return Expectation(wait_s, RateState(int(left), seconds(reset)))

    async def show(self, job_id: str, shown: bytes, preview: str, watchers: frozenset[str]) -> None:
        """Publish a running job's progress; the preview goes to the processes that watch."""
        message = msgspec.json.encode(["preview", job_id, preview]) if preview and watchers else b""
        await self._connection.run(load_script("show"), "", job_id, self._process, shown, message, *sorted(watchers))


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _texts(values: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({name: _text(value) for name, value in values.items()})


def _own_job(words: list[bytes]) -> OwnJob:
    job_id, task_id, process, entered, started, position, shown, foretold = words
    return OwnJob(
        job_id=job_id.decode(),
        task_id=task_id.decode(),
        process=process.decode(),
        entered_at=seconds(entered),
        started_at=seconds(started),
        position=int(position),
        shown=shown,
        foretold=prospect_of(foretold) if foretold else None,
    )

"""Jobs in Redis: entering, asking again, leaving, and the process's heartbeat. Fulfils `ports.JobStore` and
`Announcer`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from gateway.adapters.redis.connection import Connection
from gateway.adapters.redis.scripts import load_script
from gateway.domain.errors import StoreUnavailable
from gateway.domain.limits import MICROSECONDS, interval_us, window_of
from gateway.domain.usage import Measure, Window
from gateway.ports import (
    Admitted,
    Asked,
    Beat,
    Entered,
    Entry,
    EpochChanged,
    Granted,
    Leaving,
    Message,
    OptionsChanged,
    Preview,
    Queued,
    Quota,
    RateState,
    Refused,
    Remembered,
    SeedsNeeded,
    Wished,
    Woken,
)

SILENCE_S = 3.0  # as in heartbeat.lua
RULE_0 = "free with its checkpoint loaded while nobody waited"  # as in prelude.lua
MILLIONTHS = 1_000_000  # what quotas are counted in: whole numbers, so that nothing is lost to rounding


def seconds(raw: bytes) -> float:
    """A script's microseconds as seconds."""
    return int(raw) / MICROSECONDS


class RedisJobs:
    """One process's view of all jobs; `process` is its name in the store, unique to this start."""

    def __init__(self, connection: Connection, process: str, lease_s: float = 10.0) -> None:
        self._connection = connection
        self._process = process
        self._lease_us = int(lease_s * MICROSECONDS)
        self._generation = ""
        self._server = ""
        self._breaks_seen = -1
        self._beaten_at = 0.0
        self._deployment_id = ""

    def belongs_to(self, deployment_id: str, *, has_lost_data: bool) -> None:
        """Mark a store that loses its data as this deployment's again. `has_lost_data`: it was found empty though jobs
        ran before, so others may be holding some now.
        """
        self._deployment_id = deployment_id
        if has_lost_data:
            self._generation = "before"

    async def enter(self, entry: Entry) -> Entered:
        """Admit the job, all or nothing. Raises StoreUnavailable; the job may then have been admitted."""
        arguments = (msgspec.json.encode(self._entry_arguments(entry)), entry.static, entry.ticket)
        reply = await self._connection.run(load_script("enter"), entry.operation_id, *arguments)
        if reply[0] == b"generation":  # the data are lost: whoever beats first begins a new generation
            await self.beat(0)
            reply = await self._connection.run(load_script("enter"), entry.operation_id, *arguments)
        return _entered(reply)

    async def requeue(
        self, operation_id: str, job_id: str, runnable_on: tuple[str, ...], ticket: bytes, loaded: str | None
    ) -> Granted | Queued | None:
        """Give the job's slot back after a failed attempt and ask again elsewhere; None if it no longer runs."""
        arguments: dict[str, Any] = {"job": job_id, "backends": runnable_on, "abandoned": loaded is None}
        if loaded is not None:
            arguments["loaded"] = loaded
        reply = await self._connection.run(load_script("requeue"), operation_id, msgspec.json.encode(arguments), ticket)
        return None if reply[0] == b"gone" else _place(reply)

    async def leave(self, leaving: Leaving) -> bool:
        """End the job; False if nothing was open (any more) under that id."""
        arguments: dict[str, Any] = {
            "job": leaving.job_id,
            "outcome": leaving.outcome,
            "used": {
                Measure.IMAGES: leaving.images * MILLIONTHS,
                Measure.GPU_SECONDS: round(leaving.gpu_seconds * MILLIONTHS),
            },
        }
        if leaving.loaded is not None:
            arguments["loaded"] = leaving.loaded
        if leaving.is_abandoned:
            arguments["abandoned"] = True
        reply = await self._connection.run(
            load_script("leave"), leaving.operation_id, msgspec.json.encode(arguments), leaving.final
        )
        return reply[0] in (b"closed", b"corrected")

    async def restore(self, operation_id: str, remembered: Remembered) -> bool:
        """Put a job back into a store that lost its data; False if the store knows it."""
        entry, granted = remembered.entry, remembered.granted
        arguments: dict[str, Any] = {
            "job": entry.job_id,
            "tenant": entry.tenant_id,
            "key": entry.key_id,
            "task": entry.task_id,
            "proc": self._process,
            "checkpoint": entry.checkpoint,
            "cap": entry.max_concurrency,
            "entered": _microseconds(remembered.entered_at),
        }
        arguments["quotas"] = [_window(quota, remembered.entered_at) for quota in entry.quotas]
        if granted is not None:
            started = _microseconds(granted.at)
            arguments |= {"backend": granted.backend, "started": started, "before": granted.loaded_before}
        reply = await self._connection.run(
            load_script("restore"), operation_id, msgspec.json.encode(arguments), entry.static, entry.ticket
        )
        return bool(reply[0] == b"restored")

    async def beat(self, held_count: int) -> Beat:
        """Say that this process lives, close what dead ones left, learn what changed."""
        beat = await self._beat(held_count, "")
        has_lost_data = self._generation not in ("", beat.generation)
        if self._breaks_seen != self._connection.breaks or beat.at - self._beaten_at > SILENCE_S:
            # Only after a break can the server be another one, or have begun anew from older data.
            breaks, server = self._connection.breaks, await self._connection.server()
            if self._server not in ("", server):
                has_lost_data, beat = True, await self._beat(held_count, server)
            self._server, self._breaks_seen = server, breaks
        if has_lost_data and self._deployment_id:
            await self._connection.command("SET", self._connection.key("deployment"), self._deployment_id, "NX")
        self._generation, self._beaten_at = beat.generation, beat.at
        return replace(beat, has_lost_data=has_lost_data)

    async def _beat(self, held_count: int, new_server: str) -> Beat:
        reply = await self._connection.run(
            load_script("heartbeat"),
            *("", self._process, secrets.token_hex(8), self._lease_us, held_count, self._generation, new_server),
        )
        at, generation, epoch, version, states, dispatcher, reaped, agreement, *held = reply
        return Beat(
            at=seconds(at),
            generation=generation.decode(),
            epoch=epoch.decode(),
            catalogue_version=version.decode(),
            states_version=states.decode(),
            dispatcher=dispatcher.decode(),
            reaped=int(reaped),
            held=None if agreement == b"=" else frozenset(job.decode() for job in held),
        )

    async def look(self, job_ids: Sequence[str]) -> dict[str, Granted]:
        """Those of the waiting jobs that were granted meanwhile."""
        if not job_ids:
            return {}
        commands: list[tuple[str | bytes | int, ...]] = [
            ("HMGET", self._connection.key(f"job:{job_id}"), "state", "backend", "started", "before", "why")
            for job_id in job_ids
        ]
        found = {}
        for job_id, fields in zip(job_ids, await self._connection.pipeline(commands), strict=True):
            state, backend, started, before, why = fields
            if state == b"r":
                loaded_before, reason = (before or b"").decode(), (why or b"").decode()
                found[job_id] = Granted(backend.decode(), loaded_before, seconds(started), reason)
        return found

    async def next_message(self, timeout_s: float) -> Message | None:
        """The next message to this process, None when none came in time."""
        raw = await self._connection.pop(f"wake:{self._process}", timeout_s)
        if raw is None:
            return None
        return _message(msgspec.json.decode(raw))

    async def epoch(self) -> str:
        """The revocation epoch now."""
        raw = await self._connection.command("GET", self._connection.key("epoch"))
        return raw.decode() if raw else (await self.beat(0)).epoch

    async def keys_changed(self) -> None:
        """Begin a new revocation epoch: every cached caller is looked up anew before its next job."""
        await self._connection.command("SET", self._connection.key("epoch"), secrets.token_hex(8))

    def _entry_arguments(self, entry: Entry) -> dict[str, Any]:
        return {
            "job": entry.job_id,
            "tenant": entry.tenant_id,
            "key": entry.key_id,
            "task": entry.task_id,
            "proc": self._process,
            "epoch": entry.epoch,
            "options": entry.options_version,
            "checkpoint": entry.checkpoint,
            "backends": entry.runnable_on,
            "cap": entry.max_concurrency,
            "max_queued": entry.max_queued,
            "rates": [
                {
                    "id": rate.subject,
                    "interval_us": interval_us(rate.per_minute),
                    "burst": rate.burst,
                }
                for rate in entry.rates
            ],
            "quotas": [
                {
                    "measure": quota.measure,
                    "window": quota.window,
                    "limit": round(quota.limit * MILLIONTHS),
                    "amount": round(quota.amount * MILLIONTHS),
                    "seed": _seed(entry, quota),
                }
                for quota in entry.quotas
            ],
        }


def _window(quota: Quota, entered_at: float) -> dict[str, str]:
    """The window that a job which entered then reserved from, as the scripts name it, and how much."""
    first, _ = window_of(quota.window, round(entered_at * MICROSECONDS))
    name = f"{quota.measure}:{quota.window}:{first}"
    return {"name": name, "measure": quota.measure, "amount": str(round(quota.amount * MILLIONTHS))}


def _message(words: list[Any]) -> Message:
    match words:
        case ["look", job_id, process, with_preview]:
            return Asked(job_id, process, with_preview)
        case ["wish", job_id, wish]:
            return Wished(job_id, wish)
        case ["preview", job_id, image]:
            return Preview(job_id, image)
    job_id, backend, started, before, why = words
    return Woken(job_id, Granted(backend, before, int(started) / MICROSECONDS, why))


def _microseconds(at: float) -> str:
    return str(round(at * MICROSECONDS))


def _seed(entry: Entry, quota: Quota) -> int | bool:
    used = entry.seeds.get((quota.measure, quota.window))
    return False if used is None else round(used * MILLIONTHS)


def _entered(reply: list[bytes]) -> Entered:
    word, at, *rest = reply
    match word:
        case b"granted" | b"queued":
            return Admitted(_place(reply), RateState(int(reply[4]), int(reply[5]) / MICROSECONDS))
        case b"epoch":
            return EpochChanged(rest[0].decode())
        case b"options":
            return OptionsChanged()
        case b"seed":
            triples = zip(rest[0::3], rest[1::3], rest[2::3], strict=True)
            return SeedsNeeded(tuple((Measure(m.decode()), Window(w.decode()), float(s)) for m, w, s in triples))
        case b"rate" | b"quota":
            return Refused(word.decode(), rest[1].decode(), seconds(rest[0]), seconds(at))
        case b"outstanding" | b"busy":
            return Refused(word.decode(), rest[0].decode(), seconds(rest[1]), seconds(at))
    raise StoreUnavailable("The gateway's store has just lost its data. Try again in a moment.")


def _place(reply: list[bytes]) -> Granted | Queued:
    word, at, what, before = reply[:4]
    if word == b"granted":
        return Granted(what.decode(), before.decode(), seconds(at), RULE_0)
    return Queued(int(what), seconds(at))

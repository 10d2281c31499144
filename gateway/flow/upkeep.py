"""The gateway's own work on a backend: options that must have one value, rescans. Always under that backend's slot.

SD.Next lists only options that differ from their default (observed), and for all of these the default is wrong: an
option that is absent is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed
from gateway.domain.jobs import Outcome
from gateway.flow.held import HeldJobs
from gateway.flow.ids import new_id
from gateway.flow.probe import is_poisoned
from gateway.flow.snapshot import Rescan
from gateway.ports import BackendClient, JobStore, Leaving, PoolStore

# Pictures as PNG with their metadata; no 60 generations a minute for the whole gateway; no LoRA residue in the shared
# checkpoint; no download because of a name; no line of the server's own files in a prompt.
MANAGED_OPTIONS: dict[str, Any] = {
    "samples_format": "png",
    "server_rate_limit": 0,
    "lora_fuse_native": False,
    "sd_checkpoint_autodownload": False,
    "wildcards_enabled": False,
}
# What each looks for anew: checkpoints, LoRAs, VAEs. A server that lacks one answers 404, and that is all.
RESCANS = ("refresh-checkpoints", "refresh-loras", "refresh-vae")
OPTIONS_TIMEOUT_S = 60.0
RESCAN_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 10.0
SLOT_TRIES = 300
MOST_PROBES = 100
OK = 200
MOST_VALUES = 400_000

Found = Callable[[str, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A checkpoint, by its title there, that may be poisoned on a backend; `tell_poisoned` is called if it is."""

    backend: str
    title: str
    tell_poisoned: Callable[[], None]


class Upkeep:
    """Brings a backend into the state the gateway relies on.

    `found` is told what each option was before it is set (name of the backend, values). `rescanned` has the rescans
    made here since this process leads; while a backend is in `rescanning` its lists lie.
    """

    def __init__(
        self, client: BackendClient, pool: PoolStore, jobs: JobStore, held: HeldJobs, found: Found | None = None
    ) -> None:
        self._client = client
        self._found = found
        self._pool = pool
        self._jobs = jobs
        self._held = held
        self.rescanned: dict[str, Rescan] = {}
        self.rescanning: set[str] = set()
        self._probes: asyncio.Queue[Suspect] = asyncio.Queue(MOST_PROBES)

    async def wrong_options(self, backend: Backend) -> dict[str, Any]:
        """The managed options that have another value there, with the right one. Raises AttemptFailed."""
        return _wrong(await self._options(backend))

    async def _options(self, backend: Backend, route: str = "options") -> dict[str, Any]:
        reply = await self._client.get(backend, f"/sdapi/v1/{route}", ANSWER_TIMEOUT_S)
        if reply.status != OK:
            raise AttemptFailed(f"The backend answered {reply.status} when asked for its options.")
        options = decoded(reply.body)
        if not isinstance(options, dict):
            raise AttemptFailed("The backend's options are not an object.")
        return options

    async def _tell_found(self, backend: Backend, listed: dict[str, Any], names: Iterable[str]) -> None:
        """What these options are now: the value listed, else the default. Where neither is told nothing is kept."""
        if self._found is None:
            return
        known = listed
        with suppress(AttemptFailed):
            about = (await self._options(backend, "options-info")).items()
            known = {name: it["default"] for name, it in about if isinstance(it, dict) and "default" in it} | known
        await self._found(backend.name, {name: known[name] for name in names if name in known})

    async def set_options(self, backend: Backend) -> bool:
        """Set what is wrong and read it back; False while a job holds the slot, or if it did not take.

        Raises AttemptFailed and StoreUnavailable.
        """
        listed = await self._options(backend)
        wrong = _wrong(listed)
        if not wrong:
            return True
        async with self._slot(backend) as is_held:
            if not is_held:
                return False
            await self._tell_found(backend, listed, wrong)
            await write_options(self._client, backend, wrong)
            return not await self.wrong_options(backend)

    async def rescan(self, backend: Backend, rescan: Rescan) -> None:
        """Have it look for files anew, unless a job holds the slot. Raises AttemptFailed and StoreUnavailable."""
        async with self._slot(backend) as is_held:
            if not is_held:
                return
            self.rescanning.add(backend.name)
            try:
                for name in RESCANS:
                    await self._client.post(backend, f"/sdapi/v1/{name}", b"", RESCAN_TIMEOUT_S)
                self.rescanned[backend.name] = rescan
            finally:
                self.rescanning.discard(backend.name)

    def ask_probe(self, suspect: Suspect) -> None:
        """Have this checkpoint probed there as soon as the slot is free; too many at once are let go."""
        with suppress(asyncio.QueueFull):
            self._probes.put_nowait(suspect)

    async def reload_for_ever(self, backends: Callable[[], Mapping[str, Backend]]) -> None:
        """Probe what was asked for, one after the other, and load anew what is poisoned. Errors of the store end it,
        to be started again.
        """
        while True:
            suspect = await self._probes.get()
            if (backend := backends().get(suspect.backend)) is not None and backend.is_managed:
                await self._probe(backend, suspect)

    async def _probe(self, backend: Backend, suspect: Suspect) -> None:
        for _ in range(SLOT_TRIES):
            async with self._slot(backend) as is_held:
                if is_held:
                    with suppress(AttemptFailed):  # what is wrong there is found out by the next job or look
                        if await is_poisoned(self._client, backend, suspect.title):
                            suspect.tell_poisoned()
                            await self._reload(backend, suspect.title)
                    return
            await asyncio.sleep(1.0)

    async def _reload(self, backend: Backend, title: str) -> None:
        """Only a forced load mends a checkpoint that answers with nothing (observed)."""
        path = "/sdapi/v1/checkpoint?" + urlencode({"sd_model_checkpoint": title, "force": "true"})
        await self._client.post(backend, path, b"", OPTIONS_TIMEOUT_S)

    @asynccontextmanager
    async def _slot(self, backend: Backend) -> AsyncIterator[bool]:
        """The backend's slot for the length of the block; false where somebody else has it."""
        job_id = f"upkeep-{new_id()}"
        work = self._held.open(job_id)  # else the next heartbeat takes it for an orphan and gives the slot away
        try:
            is_held = await self._pool.hold(new_id(), job_id, backend.name)
            work.upkeep_of = backend.name if is_held else ""
            try:
                yield is_held
            finally:
                if is_held:
                    await self._jobs.leave(Leaving(new_id(), job_id, Outcome.FINISHED))
        finally:
            self._held.close(job_id)


def _wrong(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in MANAGED_OPTIONS.items() if options.get(key) != value}


async def write_options(client: BackendClient, backend: Backend, options: Mapping[str, Any]) -> None:
    """Set these options there. Raises AttemptFailed if it is not answered; whether they took is another question."""
    await client.post(backend, "/sdapi/v1/options", msgspec.json.encode(options), OPTIONS_TIMEOUT_S)


def decoded(body: bytes) -> Any:  # noqa: ANN401 - JSON of a backend
    """A backend's JSON, None if it is none or has more values than any list."""
    if body.count(b",") > MOST_VALUES:  # each costs fifty times its bytes once it is read
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None

"""The gateway's own work on a backend: options that must have one value, rescans. Always under that backend's slot.
Loading a checkpoint anew stands in `reload`.

SD.Next lists only options that differ from their default (observed), and for all of these the default is wrong: an
option that is absent is wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from gateway.domain.backends import Backend
from gateway.domain.errors import AttemptFailed
from gateway.domain.jobs import Outcome
from gateway.domain.replies import decoded
from gateway.flow.held import HeldJobs
from gateway.flow.ids import new_id
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
PICTURE_FORMAT = "samples_format"
UNMANAGED = (
    f"Its pictures do not come as PNG and the gateway may not set its options: set {PICTURE_FORMAT} to png there, or "
    "let the gateway do it (manage = true)."
)
# What each looks for anew: checkpoints, LoRAs, VAEs. A server that lacks one answers 404, and that is all.
RESCANS = ("refresh-checkpoints", "refresh-loras", "refresh-vae")
OPTIONS_TIMEOUT_S = 60.0
RESCAN_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 10.0
OK = 200

Found = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class Upkeep:
    """Brings a backend into the state the gateway relies on.

    `found` is told what each option was before it is set (name of the backend, values). `rescanned` has the rescans
    made here since this process leads; while a backend is in `rescanning` its lists lie.
    """

    def __init__(
        self, client: BackendClient, pool: PoolStore, jobs: JobStore, held: HeldJobs, found: Found | None = None
    ) -> None:
        self.client = client
        self._found = found
        self._pool = pool
        self._jobs = jobs
        self._held = held
        self.rescanned: dict[str, Rescan] = {}
        self.rescanning: set[str] = set()

    async def wrong_options(self, backend: Backend) -> dict[str, Any]:
        """The managed options that have another value there, with the right one. Raises AttemptFailed."""
        return wrong_in(await read_options(self.client, backend))

    async def _tell_found(self, backend: Backend, listed: dict[str, Any], names: Iterable[str]) -> None:
        """What these options are now: the value listed, else the default. Where neither is told nothing is kept."""
        if self._found is None:
            return
        known = listed
        with suppress(AttemptFailed):
            known = defaults_in(await read_options(self.client, backend, "options-info")) | listed
        await self._found(backend.name, {name: known[name] for name in names if name in known})

    async def make_fit(self, backend: Backend) -> str:
        """See to it that the managed options are right there, and read them back; "" when they are, else why not yet.

        Raises AttemptFailed and StoreUnavailable.
        """
        listed = await read_options(self.client, backend)
        wrong = wrong_in(listed)
        if not backend.is_managed:
            return UNMANAGED if PICTURE_FORMAT in wrong else ""
        if not wrong:
            return ""
        async with self.slot(backend) as is_held:
            if not is_held:
                return f"Its slot is taken; when that ends the gateway sets {', '.join(wrong)}."
            await self._tell_found(backend, listed, wrong)
            await write_options(self.client, backend, wrong)
            kept_wrong = await self.wrong_options(backend)
        return f"It was told {', '.join(kept_wrong)} and keeps another value: look into its log." if kept_wrong else ""

    async def rescan(self, backend: Backend, rescan: Rescan) -> None:
        """Have it look for files anew, unless a job holds the slot. Raises AttemptFailed and StoreUnavailable."""
        async with self.slot(backend) as is_held:
            if not is_held:
                return
            self.rescanning.add(backend.name)
            try:
                for name in RESCANS:
                    await self.client.post(backend, f"/sdapi/v1/{name}", b"", RESCAN_TIMEOUT_S)
                self.rescanned[backend.name] = rescan
            finally:
                self.rescanning.discard(backend.name)

    @asynccontextmanager
    async def slot(self, backend: Backend, *, forgets_loaded: bool = False) -> AsyncIterator[bool]:
        """The backend's slot for the length of the block; false where somebody else has it.

        `forgets_loaded`: the block may load another checkpoint; the next look finds out which.
        """
        job_id = f"upkeep-{new_id()}"
        work = self._held.open(job_id)  # else the next heartbeat takes it for an orphan and gives the slot away
        try:
            is_held = await self._pool.hold(new_id(), job_id, backend.name)
            work.upkeep_of = backend.name if is_held else ""
            has_ended = False
            try:
                yield is_held
                has_ended = True
            finally:  # cut short, what was begun there may go on: the slot is free once the backend is seen to be quiet
                if is_held:
                    loaded = "" if forgets_loaded else None
                    leaving = Leaving(new_id(), job_id, Outcome.FINISHED, loaded=loaded, is_abandoned=not has_ended)
                    await self._jobs.leave(leaving)
        finally:
            self._held.close(job_id)


def defaults_in(options_info: Mapping[str, Any]) -> dict[str, Any]:
    """Each option's default, from the answer to `GET /options-info` (observed: names under `options`)."""
    about = options_info.get("options")
    if not isinstance(about, Mapping):
        return {}
    return {name: it["default"] for name, it in about.items() if isinstance(it, Mapping) and "default" in it}


async def read_options(client: BackendClient, backend: Backend, route: str = "options") -> dict[str, Any]:
    """The options that a backend lists, or what it says about them. Raises AttemptFailed."""
    reply = await client.get(backend, f"/sdapi/v1/{route}", ANSWER_TIMEOUT_S)
    if reply.status != OK:
        raise AttemptFailed(f"The backend answered {reply.status} when asked for its options.")
    options = decoded(reply.body)
    if not isinstance(options, dict):
        raise AttemptFailed("The backend's options are not an object.")
    return options


def wrong_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """The managed options that have another value among those listed, with the right one."""
    return {key: value for key, value in MANAGED_OPTIONS.items() if options.get(key) != value}


async def write_options(client: BackendClient, backend: Backend, options: Mapping[str, Any]) -> bool:
    """Set these options there; false if it refuses. Raises AttemptFailed if it is not answered; whether they took is
    another question.
    """
    reply = await client.post(backend, "/sdapi/v1/options", msgspec.json.encode(options), OPTIONS_TIMEOUT_S)
    return reply.status == OK

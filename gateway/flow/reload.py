"""Loading a checkpoint anew where it answers with nothing, and finding out whether the server itself is broken.

`POST /checkpoint` takes no lock there, and a load beside a load or a job can break every later load of that process
until it is started anew (observed). So: all of it under the backend's slot, nothing begins before the backend is idle,
and the slot is held until the load has really ended, however long its answer takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

from gateway.domain.backends import Backend, BackendState, Condition
from gateway.domain.errors import AttemptFailed, BackendBroke, BackendTimedOut
from gateway.flow.ids import new_id
from gateway.flow.observe import STALE_S, identity_of, is_idle, loaded_title, progress_of, titles_of
from gateway.flow.probe import is_poisoned, makes_nothing
from gateway.flow.upkeep import Upkeep
from gateway.ports import BackendClient, Log, PoolNews, PoolStore

SLOT_TRIES = 300
MOST_SUSPECTS = 100
LOAD_ANSWER_S = 60.0
LOOK_EVERY_S = 1.0
IDLE_WITHIN_S = 120.0
LONGEST_LOAD_S = 1800.0
EMPTY = "It makes no pictures any more, with {} neither, though loaded anew: restart it."
ONLY_ONE = "It makes no pictures with {}, its only checkpoint, though loaded anew: restart it, or mend the file."
STILL_LOADS = "Its load of {} has not ended for 30 minutes: restart it."


@dataclass(frozen=True, slots=True)
class Suspect:
    """A checkpoint, by its title there, that answered with nothing (`tell_poisoned` is called if it is poisoned), or
    that could not be loaded (None).
    """

    backend: str
    title: str
    tell_poisoned: Callable[[], None] | None = None


class Reloader:
    """Looks into suspects, one after the other, and loads anew what is broken."""

    def __init__(self, client: BackendClient, pool: PoolStore, upkeep: Upkeep, log: Log) -> None:
        self._client = client
        self._pool = pool
        self._upkeep = upkeep
        self._log = log
        self._asked: asyncio.Queue[Suspect] = asyncio.Queue(MOST_SUSPECTS)

    def ask(self, suspect: Suspect) -> None:
        """Have this checkpoint looked into as soon as the slot is free; too many at once are let go."""
        with suppress(asyncio.QueueFull):
            self._asked.put_nowait(suspect)

    async def run(self, backends: Callable[[], Mapping[str, Backend]]) -> None:
        """Do what was asked for, for ever. Errors of the store end it, to be started again."""
        while True:
            suspect = await self._asked.get()
            if (backend := backends().get(suspect.backend)) is not None and backend.is_managed and suspect.title:
                await self._look_into(backend, suspect)

    async def _look_into(self, backend: Backend, suspect: Suspect) -> None:
        title = suspect.title
        for _ in range(SLOT_TRIES):
            try:
                async with self._upkeep.slot(backend, forgets_loaded=True) as is_held:
                    if is_held:
                        await self._under_slot(backend, suspect)
                        return
            except AttemptFailed as failed:  # away, or no answer: the next look finds out what is wrong there
                self._log.warn("checkpoint_reload_failed", backend=backend.name, model=title, reason=str(failed))
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _under_slot(self, backend: Backend, suspect: Suspect) -> None:
        """What is broken is published before the slot is given back: else a job would come between."""
        title = suspect.title
        if suspect.tell_poisoned is not None:
            # An empty answer may be the request's own fault: only the gateway's probe convicts a checkpoint.
            if not await is_poisoned(self._client, backend, title):
                return
            suspect.tell_poisoned()
        reason = await self._why_broken(backend, title)
        if not reason:
            self._log.tell("checkpoint_reloaded", backend=backend.name, model=title)
            return
        condition = Condition(reason, needs_restart=True)
        news = PoolNews(states={backend.name: BackendState.SET_ASIDE}, conditions={backend.name: condition})
        await self._pool.publish(new_id(), news)

    async def _why_broken(self, backend: Backend, title: str) -> str:
        """Why only a restart helps, "" where it makes pictures again, if only with another checkpoint.

        One checkpoint alone that cannot be loaded is a broken file, not a broken server.
        """
        if not await self._is_idle_within(backend, IDLE_WITHIN_S):
            return ""  # somebody else works there: a load beside it could break it
        if not await self._load(backend, title, force=True):
            return STILL_LOADS.format(title)
        if await self._makes_pictures(backend, title):
            return ""
        others = [other for other in await titles_of(self._client, backend) if other != title]
        if not others:
            return ONLY_ONE.format(title)
        if not await self._load(backend, others[0], force=False):
            return STILL_LOADS.format(others[0])
        return "" if await self._makes_pictures(backend, others[0]) else EMPTY.format(others[0])

    async def _load(self, backend: Backend, title: str, *, force: bool) -> bool:
        """Load it, and wait until that has ended; False if it never does. A load that fails has ended, too."""
        query = {"sd_model_checkpoint": title} | ({"force": "true"} if force else {})
        try:
            await self._client.post(backend, "/sdapi/v1/checkpoint?" + urlencode(query), b"", LOAD_ANSWER_S)
        except (BackendTimedOut, BackendBroke):  # its answer is late or lost: the load itself may go on
            return await self._is_idle_within(backend, LONGEST_LOAD_S)
        return True

    async def _is_idle_within(self, backend: Backend, seconds: float) -> bool:
        """Whether it comes to rest. Raises BackendUnreachable when it is gone; no answer is no rest.

        A job that failed leaves its progress standing until the next one (observed): that is rest, too, where something
        is in memory, so that it does not load.
        """
        clock = asyncio.get_running_loop().time
        until, seen, seen_at = clock() + seconds, None, clock()
        while clock() < until:
            with suppress(BackendTimedOut, BackendBroke):
                progress = await progress_of(self._client, backend)
                if is_idle(progress):
                    return True
                if seen != identity_of(progress):
                    seen, seen_at = identity_of(progress), clock()
                if clock() - seen_at > STALE_S and await loaded_title(self._client, backend):
                    return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _makes_pictures(self, backend: Backend, title: str) -> bool:
        """Whether it does, with this checkpoint. Only 200 without a picture says no: the next job meets all else."""
        if not await loaded_title(self._client, backend):
            return False
        return not await makes_nothing(self._client, backend, title)

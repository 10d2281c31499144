"""Loading a checkpoint anew where it answers with nothing, and finding out whether the server itself is broken.

`POST /checkpoint` takes no lock there, and a load beside a load or a job can break every later load of that process
until it is started anew (observed). So: all of it under the backend's slot, nothing begins before the backend is idle,
and the slot is held until the load has really ended, however long its answer takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlencode

import msgspec

from gateway.domain.backends import Backend, BackendState, Condition
from gateway.domain.errors import AttemptFailed, BackendBroke, BackendTimedOut
from gateway.domain.jobs import Operation
from gateway.flow.ids import new_id
from gateway.flow.observe import STALE_S, identity_of, is_idle, loaded_title, progress_of, titles_of
from gateway.flow.upkeep import OK, Upkeep
from gateway.ports import BackendClient, Log, PoolNews, PoolStore

SLOT_TRIES = 300
MOST_RELOADS = 100
LOAD_ANSWER_S = 60.0
LOOK_EVERY_S = 1.0
IDLE_WITHIN_S = 120.0
LONGEST_LOAD_S = 1800.0
PROBE_S = 300.0
PROBE_SIDE = 64
PROBE_STEPS = 4  # fewer fail with PNDM, whatever the checkpoint (observed)
EMPTY = "It makes no pictures any more, with {} neither, though loaded anew: restart it."
ONLY_ONE = "It makes no pictures with {}, its only checkpoint, though loaded anew: restart it, or mend the file."
STILL_LOADS = "Its load of {} has not ended for 30 minutes: restart it."


class Reloader:
    """Loads anew what was asked for, one after the other."""

    def __init__(self, client: BackendClient, pool: PoolStore, upkeep: Upkeep, log: Log) -> None:
        self._client = client
        self._pool = pool
        self._upkeep = upkeep
        self._log = log
        self._asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue(MOST_RELOADS)

    def ask(self, backend: str, title: str) -> None:
        """Have this checkpoint loaded anew there as soon as the slot is free; too many at once are let go."""
        with suppress(asyncio.QueueFull):
            self._asked.put_nowait((backend, title))

    async def run(self, backends: Callable[[], Mapping[str, Backend]]) -> None:
        """Do what was asked for, for ever. Errors of the store end it, to be started again."""
        while True:
            name, title = await self._asked.get()
            if (backend := backends().get(name)) is not None and backend.is_managed and title:
                await self._reload(backend, title)

    async def _reload(self, backend: Backend, title: str) -> None:
        for _ in range(SLOT_TRIES):
            try:
                async with self._upkeep.slot(backend, forgets_loaded=True) as is_held:
                    if is_held:
                        await self._under_slot(backend, title)
                        return
            except AttemptFailed as failed:  # away, or no answer: the next look finds out what is wrong there
                self._log.warn("checkpoint_reload_failed", backend=backend.name, model=title, reason=str(failed))
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _under_slot(self, backend: Backend, title: str) -> None:
        """What is broken is published before the slot is given back: else a job would come between."""
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
        fields = {"prompt": "a grey stone", "steps": PROBE_STEPS, "width": PROBE_SIDE, "height": PROBE_SIDE}
        body = msgspec.json.encode(fields | {"sd_model_checkpoint": title})
        reply = await self._client.generate(backend, Operation.TXT2IMG, body, PROBE_S)
        return reply.status != OK or has_pictures(reply.body)


def has_pictures(body: bytes) -> bool:
    """Whether an answer to a generation holds any."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return bool(msgspec.json.decode(answer["images"], type=list[msgspec.Raw]))
    except (msgspec.MsgspecError, KeyError, RecursionError):
        return False

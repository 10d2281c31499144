"""A caller's own jobs, whichever process holds them: how far they are, and the wish that one of them ends.

Nothing of another key's job can be seen or stopped from here: the store gives only the jobs of the key that asks.
"""

from __future__ import annotations

from contextlib import suppress

from gateway.domain.errors import StoreUnavailable
from gateway.domain.keys import Caller
from gateway.domain.progress import OwnProgress, Shown
from gateway.flow.enter import rates_of
from gateway.flow.held import HeldJobs
from gateway.ports import Expectation, Look, OwnJob, OwnJobs, OwnJobStore

INTERRUPT, SKIP = "interrupt", "skip"
_NO_ID = frozenset({"", "undefined", "null", "None"})


class OwnWork:
    """What one process can tell of every caller's own jobs, and do about them. One round trip each time.

    While the store is away it tells of the jobs that it holds itself: they run on, and clients that ask for progress
    before each call, or wait until they are idle, would take an error for a broken server.
    """

    def __init__(self, store: OwnJobStore, held: HeldJobs) -> None:
        self._store = store
        self._held = held

    async def progress(self, caller: Caller, *, with_preview: bool = False, task_id: str = "") -> OwnProgress:
        """How far the caller's oldest running job is, else its oldest waiting one, or the one that `task_id` names.

        Never waits for a backend, nor for a store that is away.
        """
        named = "" if task_id in _NO_ID else task_id
        jobs = await self._look(Look(caller.key_id, with_preview))
        job = chosen(jobs, named)
        if job is None:
            return OwnProgress(at=jobs.at)
        shown, preview = self._shown(job, with_preview=with_preview)
        told = job.foretold
        return OwnProgress(
            task_id=job.task_id or job.job_id,
            position=job.position,
            starts_at=told.starts_at if told else 0.0,
            waiting=jobs.waiting,
            queued=sum(not other.is_running for other in jobs.jobs),
            since=job.started_at if job.is_running else job.entered_at,
            at=jobs.at,
            shown=shown,
            preview=preview if with_preview else "",
        )

    def _shown(self, job: OwnJob, *, with_preview: bool) -> tuple[Shown, str]:
        here = self._held.get(job.job_id)
        if here is not None:  # also of one that waits: so it is followed from its beginning on
            here.attention.look(with_preview=with_preview)
        if not job.is_running:
            return Shown(job="queued"), ""
        if here is None:
            return Shown.from_bytes(job.shown), self._held.previews.get(job.job_id, "")
        return here.attention.shown, here.attention.preview

    async def pending(self, caller: Caller) -> list[str]:
        """The caller's waiting jobs, oldest first, each by the caller's own id for it if it has one."""
        jobs = await self._look(Look(caller.key_id))
        return [job.task_id or job.job_id for job in jobs.jobs if not job.is_running]

    async def counts(self, caller: Caller) -> tuple[int, int]:
        """How many jobs this caller has outstanding, and how many of all callers wait."""
        jobs = await self._store.look_at(Look(caller.key_id))
        return len(jobs.jobs), jobs.waiting

    async def expectation(self, caller: Caller, checkpoint: str) -> Expectation:
        """What one more call of this caller for the checkpoint would meet now. Raises StoreUnavailable."""
        (rate,) = rates_of(caller)
        return await self._store.expect(caller.tenant_id, checkpoint, rate)

    async def end(self, caller: Caller, wish: str, task_id: str = "") -> None:
        """Interrupt or skip one of the caller's jobs; nothing happens when there is none, or none that is known."""
        named = "" if task_id in _NO_ID else task_id
        with suppress(StoreUnavailable):
            await self._store.look_at(Look(caller.key_id, wish=wish, task_id=named))
            return
        job = chosen(self._held_here(caller.key_id), named)
        held = self._held.get(job.job_id) if job is not None else None
        if held is not None:
            held.wish_for(wish)

    async def _look(self, look: Look) -> OwnJobs:
        try:
            return await self._store.look_at(look)
        except StoreUnavailable:
            return self._held_here(look.key_id)

    def _held_here(self, key_id: str) -> OwnJobs:
        """The key's jobs of this process alone; how many of others wait before them nobody knows now."""
        here = [(job, job.entry) for job in self._held.admitted() if job.entry is not None]
        own = [(job, entry) for job, entry in here if entry.key_id == key_id]
        waiting = [job.job_id for job, _ in own if job.place is None]
        jobs = tuple(
            OwnJob(
                job_id=job.job_id,
                task_id=entry.task_id,
                process="",
                entered_at=job.entered_at,
                started_at=job.place.at if job.place else 0.0,
                position=0 if job.place else waiting.index(job.job_id) + 1,
            )
            for job, entry in own
        )
        return OwnJobs(jobs, len(waiting), max((job.started_at or job.entered_at for job in jobs), default=0.0))


def chosen(jobs: OwnJobs, task_id: str) -> OwnJob | None:
    """The job that `task_id` names; without one the oldest that runs, else the oldest that waits."""
    if task_id:
        return next((job for job in jobs.jobs if task_id in (job.job_id, job.task_id)), None)
    running = (job for job in jobs.jobs if job.is_running)
    return next(running, None) or next(iter(jobs.jobs), None)

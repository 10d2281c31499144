"""MemoryOwn: the oracle of the scripts for what is one key's own, over the same store as `MemoryJobs`."""

from __future__ import annotations

from gateway.domain.limits import MICROSECONDS, interval_us
from gateway.flow.ids import new_id
from gateway.ports import (
    Asked,
    Expectation,
    Kept,
    Look,
    Message,
    OptionChange,
    OwnJob,
    OwnJobs,
    Posted,
    Preview,
    Rate,
    RateState,
    Wished,
)
from tests.support.memory_store import Job, MemoryStore

MODEL = "sd_model_checkpoint"
MOST_OPTIONS = 128
LOOK_US = MICROSECONDS
MOST_JOBS = 100


class MemoryOwn:
    """One process's view: fulfils `OptionStore` and `OwnJobStore`."""

    def __init__(self, store: MemoryStore, process: str) -> None:
        self._store = store
        self._process = process

    async def options(self, key_id: str) -> Posted:
        """What the key has posted."""
        return Posted(dict(self._store.options.get(key_id, {})), self._store.option_versions.get(key_id, ""))

    async def change_options(self, key_id: str, change: OptionChange) -> Kept:
        """Change them, all at once."""
        own = self._store.options.setdefault(key_id, {})
        if change.unless_shown and own.get(MODEL) != change.unless_shown:
            return Kept(is_refused=True)
        self._store.option_versions[key_id] = new_id()
        for name in change.forget:
            own.pop(name, None)
        own.update(change.keep)
        remembered = set()
        for name, value in sorted(change.remember.items()):
            if name in own or len(own) < MOST_OPTIONS:
                own[name] = value
                remembered.add(name)
        return Kept(frozenset(remembered))

    async def look_at(self, look: Look) -> OwnJobs:
        """The key's jobs; the processes that hold them are told."""
        store = self._store
        found = [
            (job_id, job)
            for job_id, job in store.jobs.items()
            if job.key_id == look.key_id and job.key_id and job.state in ("waiting", "running")
        ]
        found.sort(key=lambda pair: (pair[1].entered_us, pair[0]))
        found = found[:MOST_JOBS]
        for job_id, job in found:
            self._tell(job_id, job, look)
        self._wish(found, look)
        jobs = tuple(self._own_job(job_id, job) for job_id, job in found)
        return OwnJobs(jobs, len(store.waiting), store.now_us / MICROSECONDS)

    def _own_job(self, job_id: str, job: Job) -> OwnJob:
        waiting = list(self._store.waiting)
        return OwnJob(
            job_id=job_id,
            task_id=job.task_id,
            process=job.process,
            entered_at=job.entered_us / MICROSECONDS,
            started_at=job.started_us / MICROSECONDS,
            position=waiting.index(job_id) + 1 if job.state == "waiting" else 0,
            shown=job.shown,
            foretold=self._store.forecast.jobs.get(job_id) if job.state == "waiting" else None,
        )

    async def expect(self, tenant_id: str, checkpoint: str, rate: Rate) -> Expectation:
        """What one more call of this tenant would meet now."""
        store = self._store
        wait_s = store.forecast.models.get(checkpoint, store.forecast.other_s if checkpoint else None)
        if wait_s is not None:
            wait_s = max(wait_s, store.soonest_s(tenant_id))
        every_us = interval_us(rate.per_minute)
        reset_us = max(0, store.arrivals.get(rate.subject, 0) - store.now_us)
        left = max(0, (rate.burst * every_us - reset_us) // every_us)
        return Expectation(wait_s, RateState(left, reset_us / MICROSECONDS))

    def _tell(self, job_id: str, job: Job, look: Look) -> None:
        if job.process == self._process:
            return
        asked_us = job.asked_us.get(self._process)
        if asked_us is None or (job.state == "running" and self._store.now_us - asked_us >= LOOK_US):
            job.asked_us[self._process] = self._store.now_us
            self._send(job.process, Asked(job_id, self._process, look.with_preview))

    def _wish(self, found: list[tuple[str, Job]], look: Look) -> None:
        named = [pair for pair in found if look.task_id in (pair[0], pair[1].task_id)]
        running = [pair for pair in found if pair[1].state == "running"]
        candidates = named if look.task_id else running or found
        if look.wish and candidates:
            job_id, job = candidates[0]
            self._send(job.process, Wished(job_id, look.wish))

    async def show(self, job_id: str, shown: bytes, preview: str, watchers: frozenset[str]) -> None:
        """Publish a running job's progress."""
        job = self._store.jobs.get(job_id)
        if job is None or job.state != "running" or job.process != self._process:
            return
        job.shown = shown
        for process in sorted(watchers) if preview else ():
            self._send(process, Preview(job_id, preview))

    def _send(self, process: str, message: Message) -> None:
        mailbox = self._store.mailboxes[process]
        mailbox.woken.append(message)
        mailbox.has_arrived.set()

"""MemoryJobs: the oracle of the Redis scripts, and the fake of the job store for tests of the flow.

Several processes share one `MemoryStore`; each has its own `MemoryJobs`. Time stands still until `fast_forward`.
Written from the promises of `gateway/ports.py`, not from the Lua: sets and objects where that has keys and strings.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from gateway.domain.backends import FIT, Condition
from gateway.domain.jobs import Outcome
from gateway.domain.limits import (
    DAY_US,
    MICROSECONDS,
    Fits,
    TooSoon,
    decide_rate,
    interval_us,
    retry_after_window_us,
    window_of,
)
from gateway.domain.queue import JobLine
from gateway.domain.reconciliation import Count, Tally
from gateway.domain.scheduling import Forecast, Prospect
from gateway.domain.usage import Measure, Record
from gateway.ports import (
    Admitted,
    Beat,
    BegunJob,
    Entered,
    Entry,
    EpochChanged,
    Granted,
    Leaving,
    Message,
    OptionsChanged,
    PoolChanges,
    PoolNews,
    Queued,
    Quota,
    RateState,
    Refused,
    Remembered,
    SeedsNeeded,
    WaitingJob,
    Woken,
)
from tests.support.memory_store import UPKEEP, Job, MemoryStore, QuotaKey

EVENTS_AT_ONCE = 1000
REAP_AT_ONCE = 200
SILENCE_US = 3 * MICROSECONDS


class MemoryJobs:
    """One process's view: fulfils `JobStore`, `PoolStore`, `Outbox` and `Announcer`."""

    def __init__(self, store: MemoryStore, process: str, lease_s: float = 10.0) -> None:
        self._store = store
        self._process = process
        self._lease_us = round(lease_s * MICROSECONDS)
        self._cursor = (0, 0)
        self._generation = ""

    # --- JobStore and Announcer

    async def enter(self, entry: Entry) -> Entered:
        """Admit the job, all or nothing."""
        store = self._store
        if entry.operation_id not in store.answers:
            if not store.generation:
                await self.beat(0)
            store.answers[entry.operation_id] = self._entered(entry)
        return store.answers[entry.operation_id]

    def _entered(self, entry: Entry) -> Entered:
        store, now_us = self._store, self._store.now_us
        at = now_us / MICROSECONDS
        stale = self._stale(entry)
        if stale is not None:
            return stale
        fits = self._rates(entry)
        if isinstance(fits, Refused):
            return fits
        reserved = self._reservations(entry)
        if not isinstance(reserved, dict):
            return reserved
        job = Job(entry.tenant_id, self._process, entry.checkpoint, entry.max_concurrency, now_us)
        job.static, job.ticket, job.reserved = entry.static, entry.ticket, reserved
        job.key_id, job.task_id = entry.key_id, entry.task_id
        outstanding = len(store.of(tenant=entry.tenant_id))
        backend = store.place(job, entry.runnable_on)
        if outstanding >= entry.max_concurrency + entry.max_queued:
            return Refused("outstanding", str(outstanding), store.soonest_s(entry.tenant_id), at)
        if backend is None and entry.max_queued == 0:
            return Refused("busy", str(outstanding), store.forecast.models.get(entry.checkpoint, 0.0), at)
        return self._admitted(entry.job_id, job, backend, fits)

    def _stale(self, entry: Entry) -> EpochChanged | OptionsChanged | None:
        store = self._store
        if store.epoch != entry.epoch:
            return EpochChanged(store.epoch)
        is_current = entry.options_version in (None, store.option_versions.get(entry.key_id, ""))
        return None if is_current else OptionsChanged()

    def _admitted(self, job_id: str, job: Job, backend: str | None, fits: dict[str, Fits]) -> Admitted:
        store = self._store
        store.admitted += 1
        store.arrivals |= {subject: fit.arrival_us for subject, fit in fits.items()}
        for key, amount in job.reserved.items():
            store.used[key] += amount
        store.jobs[job_id] = job
        store.heartbeats.setdefault(self._process, store.now_us)
        tightest = min(fits.values(), key=lambda fit: fit.remaining, default=Fits(0, -1, 0))
        left = RateState(tightest.remaining, tightest.reset_us / MICROSECONDS)
        if backend is not None:
            return Admitted(store.start(job_id, job, backend), left)
        return Admitted(store.queue(job_id, job), left)

    def _rates(self, entry: Entry) -> dict[str, Fits] | Refused:
        store, fits = self._store, {}
        for rate in entry.rates:
            kept, every_us = store.arrivals.get(rate.subject, 0), interval_us(rate.per_minute)
            decision = decide_rate(kept, store.now_us, every_us, rate.burst)
            if isinstance(decision, TooSoon):
                wait_s = decision.retry_after_us / MICROSECONDS
                return Refused("rate", rate.subject, wait_s, store.now_us / MICROSECONDS)
            fits[rate.subject] = decision
        return fits

    def _reservations(self, entry: Entry) -> dict[QuotaKey, int] | SeedsNeeded | Refused:
        store, reserved, missing = self._store, {}, []
        for quota in entry.quotas:
            first = window_of(quota.window, store.now_us)[0]
            key = (entry.tenant_id, quota.measure, quota.window, first)
            seed = entry.seeds.get((quota.measure, quota.window))
            if key not in store.used and seed is not None and (key, entry.job_id) in store.asked:
                store.asked.remove((key, entry.job_id))
                put_back = sum(store.jobs[job].reserved.get(key, 0) for job in store.of(tenant=entry.tenant_id))
                store.used[key] = _millionths(seed) + put_back
            if key not in store.used:
                store.asked.add((key, entry.job_id))
                missing.append((quota.measure, quota.window, first * DAY_US / MICROSECONDS))
            elif store.used[key] + _millionths(quota.amount) > _millionths(quota.limit):
                return self._used_up(quota)
            else:
                reserved[key] = _millionths(quota.amount)
        return SeedsNeeded(tuple(missing)) if missing else reserved

    def _used_up(self, quota: Quota) -> Refused:
        now_us = self._store.now_us
        wait_s = retry_after_window_us(quota.window, now_us) / MICROSECONDS
        return Refused("quota", f"{quota.measure} a {quota.window}", wait_s, now_us / MICROSECONDS)

    async def requeue(
        self, operation_id: str, job_id: str, runnable_on: tuple[str, ...], ticket: bytes, loaded: str | None
    ) -> Granted | Queued | None:
        """Give the job's slot back and ask again elsewhere; None if it no longer runs."""
        store = self._store
        if operation_id not in store.answers:
            store.answers[operation_id] = self._requeued(job_id, runnable_on, ticket, loaded)
        return store.answers[operation_id]

    def _requeued(
        self, job_id: str, runnable_on: tuple[str, ...], ticket: bytes, loaded: str | None
    ) -> Granted | Queued | None:
        store, job = self._store, self._store.jobs.get(job_id)
        if job is None or job.state != "running" or job.tenant == UPKEEP:
            return None
        if loaded is None:
            store.mark_recovering(job_id, job.backend)
        else:
            store.free_slot(job_id, job.backend, loaded)
        job.ticket, job.state, job.shown = ticket, "moving", b""
        backend = store.place(job, runnable_on)
        return store.queue(job_id, job) if backend is None else store.start(job_id, job, backend)

    async def leave(self, leaving: Leaving) -> bool:
        """End the job; False if nothing was open (any more) under that id."""
        store = self._store
        if leaving.operation_id not in store.answers:
            store.answers[leaving.operation_id] = self._left(leaving)
        return store.answers[leaving.operation_id]

    def _left(self, leaving: Leaving) -> bool:
        store, job = self._store, self._store.jobs.get(leaving.job_id)
        if job is None:
            return False
        if leaving.is_abandoned:
            store.mark_recovering(leaving.job_id, job.backend)
        else:
            store.free_slot(leaving.job_id, job.backend, leaving.loaded)
        used = {Measure.IMAGES: _millionths(leaving.images), Measure.GPU_SECONDS: _millionths(leaving.gpu_seconds)}
        is_late = job.state == "closed"
        if not is_late:
            store.close(leaving.job_id, leaving.outcome, used, leaving.final)
        if store.waiting:
            store.nudge()
        if not is_late:
            return True
        if job.outcome is not Outcome.LOST or job.is_corrected:
            return False
        job.is_corrected = True
        store.settle(job, used, holds_reservation=False)
        store.keep_record(leaving.job_id, leaving.outcome, leaving.final)
        return True

    async def restore(self, operation_id: str, remembered: Remembered) -> bool:
        """Put a job back that the store lost; False if the store knows it."""
        store, entry = self._store, remembered.entry
        if operation_id not in store.answers:
            store.answers[operation_id] = entry.job_id not in store.jobs
            if store.answers[operation_id]:
                entered_us = round(remembered.entered_at * MICROSECONDS)
                job = Job(entry.tenant_id, self._process, entry.checkpoint, entry.max_concurrency, entered_us)
                job.static, job.ticket = entry.static, entry.ticket
                for quota in entry.quotas:
                    key = (entry.tenant_id, quota.measure, quota.window, window_of(quota.window, entered_us)[0])
                    job.reserved[key] = _millionths(quota.amount)
                    if key in store.used:
                        store.used[key] += job.reserved[key]
                store.admitted += entered_us >= store.counting_since_us
                job.key_id, job.task_id = entry.key_id, entry.task_id
                store.put_back(entry.job_id, job, remembered.granted)
                store.heartbeats.setdefault(self._process, store.now_us)
        return store.answers[operation_id]

    async def beat(self, held_count: int) -> Beat:
        """Say that this process lives, close what dead ones left, learn what changed."""
        store = self._store
        if not store.generation:
            store.generation, store.counting_since_us = f"generation {store.number()}", store.now_us
        store.epoch = store.epoch or f"epoch {store.number()}"
        has_lost_data = self._generation not in ("", store.generation)
        if has_lost_data:
            store.be_cautious(store.generation, self._lease_us)
        self._generation = store.generation
        newest_us = max(store.heartbeats.values(), default=store.now_us)
        if store.now_us - newest_us > SILENCE_US:
            store.grace_us = store.now_us + SILENCE_US
        store.heartbeats[self._process] = store.now_us
        reaped = self._reap()
        held = frozenset(store.of(process=self._process))
        return Beat(
            at=store.now_us / MICROSECONDS,
            generation=store.generation,
            epoch=store.epoch,
            catalogue_version=str(store.catalogue_version or ""),
            states_version=str(store.states_version or ""),
            dispatcher=store.dispatcher() or "",
            reaped=reaped,
            held=None if len(held) == held_count else held,
            has_lost_data=has_lost_data,
        )

    def _reap(self) -> int:
        store, reaped = self._store, 0
        if store.now_us < store.grace_us:  # the store itself was away: the living are not heard again yet
            return 0
        dead = [process for process, at in store.heartbeats.items() if at < store.now_us - self._lease_us]
        for process in sorted(dead, key=lambda name: (store.heartbeats[name], name)):
            for job_id in sorted(store.of(process=process))[: REAP_AT_ONCE - reaped]:
                job = store.jobs[job_id]
                was_running = job.state == "running"
                store.close(job_id, Outcome.LOST, {}, b"{}")
                if was_running:
                    store.mark_recovering(job_id, job.backend)
                reaped += 1
            if not store.of(process=process):
                del store.heartbeats[process]
                store.mailboxes.pop(process, None)
        if reaped:
            store.nudge()
        return reaped

    async def look(self, job_ids: Sequence[str]) -> dict[str, Granted]:
        """Those of the waiting jobs that were granted meanwhile."""
        jobs = ((job_id, self._store.jobs.get(job_id)) for job_id in job_ids)
        return {
            job_id: Granted(job.backend, job.before, job.started_us / MICROSECONDS, job.why)
            for job_id, job in jobs
            if job is not None and job.state == "running"
        }

    async def next_message(self, timeout_s: float) -> Message | None:
        """The next message to this process, None when none came in time."""
        mailbox = self._store.mailboxes[self._process]
        await mailbox.until(lambda: bool(mailbox.woken), timeout_s)
        return mailbox.woken.popleft() if mailbox.woken else None

    async def epoch(self) -> str:
        """The revocation epoch now."""
        return self._store.epoch or (await self.beat(0)).epoch

    async def keys_changed(self) -> None:
        """Begin a new revocation epoch."""
        self._store.epoch = f"epoch {self._store.number()}"

    # --- PoolStore

    async def poll(self, *, from_scratch: bool) -> PoolChanges | None:
        """Take or renew the dispatcher's lease and read what changed; None when another process holds it."""
        store, holder = self._store, self._store.dispatcher()
        if holder not in (None, self._process):
            return None
        if holder is None:
            store.term = store.number()
            store.states_version += bool(store.states)
            store.states = {name: "unseen" if state == "up" else state for name, state in store.states.items()}
        store.lease = (self._process, store.now_us)
        store.mailboxes[self._process].has_work = False
        is_all = from_scratch or self._cursor[0] != store.term
        arrived, left, began = (store.waiting, [], self._running()) if is_all else self._news()
        if is_all:
            self._cursor = (store.term, store.events[-1][0] if store.events else 0)
        return PoolChanges(
            at=store.now_us / MICROSECONDS,
            is_all=is_all,
            arrived=tuple(
                WaitingJob(job_id, store.jobs[job_id].entered_us / MICROSECONDS, store.jobs[job_id].ticket)
                for job_id in arrived
                if store.jobs[job_id].state == "waiting"
            ),
            left=tuple(left),
            slots={backend: slot.view(backend) for backend, slot in store.slots.items()},
            loaded=dict(store.loaded),
            states=dict(store.states),
            conditions=dict(store.conditions),
            began=tuple(self._begun(job_id) for job_id in began if self._is_told(store.jobs[job_id])),
        )

    def _running(self) -> list[str]:
        slots = self._store.slots.values()
        return [slot.job_id for slot in slots if not slot.is_recovering and slot.tenant != UPKEEP]

    @staticmethod
    def _is_told(job: Job) -> bool:
        return job.state == "running" or job.outcome in (Outcome.FINISHED, Outcome.INTERRUPTED)

    def _begun(self, job_id: str) -> BegunJob:
        job = self._store.jobs[job_id]
        ended_us = job.ended_us if job.state == "closed" else 0
        return BegunJob(job_id, job.started_us / MICROSECONDS, ended_us / MICROSECONDS, job.ticket)

    def _news(self) -> tuple[list[str], list[str], list[str]]:
        store, (term, seen) = self._store, self._cursor
        store.events = [event for event in store.events if event[0] >= seen]
        news = [event for event in store.events if event[0] > seen][:EVENTS_AT_ONCE]
        if news:
            self._cursor = (term, news[-1][0])
        if len(news) == EVENTS_AT_ONCE:
            store.nudge()
        came, left, began = ([job for _, kind, job in news if kind == wanted] for wanted in "ALB")
        return came, left, began

    async def grant(
        self, operation_id: str, grants: Sequence[tuple[str, str]], why: Mapping[str, str] | None = None
    ) -> list[str]:
        """Carry out (job, backend) decisions; a word for each."""
        store = self._store
        if operation_id not in store.answers:
            if store.dispatcher() == self._process:
                store.answers[operation_id] = [
                    self._granted(job_id, backend, (why or {}).get(job_id, "")) for job_id, backend in grants
                ]
            else:
                store.answers[operation_id] = ["deposed"] * len(grants)
        return store.answers[operation_id]

    def _granted(self, job_id: str, backend: str, why: str) -> str:
        store, job = self._store, self._store.jobs.get(job_id)
        if job is None or job.state != "waiting":
            return "gone"
        if store.is_cautious or backend in store.slots or store.states.get(backend) != "up":
            return "taken"
        if len(store.of(tenant=job.tenant, states=("running",))) >= job.cap:
            return "cap"
        mailbox = store.mailboxes[job.process]
        mailbox.woken.append(Woken(job_id, store.start(job_id, job, backend, why)))
        mailbox.has_arrived.set()
        return "granted"

    async def hold(self, operation_id: str, job_id: str, backend: str, *, is_under_way: bool = False) -> bool:
        """Take a free backend's slot for upkeep."""
        store = self._store
        if operation_id not in store.answers:
            store.answers[operation_id] = backend not in store.slots and (is_under_way or not store.is_cautious)
            if store.answers[operation_id]:
                store.jobs[job_id] = Job(UPKEEP, self._process, "", 1, store.now_us)
                store.start(job_id, store.jobs[job_id], backend, "")
                store.heartbeats.setdefault(self._process, store.now_us)
        return store.answers[operation_id]

    async def publish(self, operation_id: str, news: PoolNews) -> None:
        """Let every process know."""
        store = self._store
        if operation_id in store.answers:
            return
        store.answers[operation_id] = None
        self._publish_states(news)
        marks = {backend: slot.mark for backend, slot in store.slots.items() if slot.is_recovering}
        for backend in (backend for backend, mark in news.quiet.items() if marks.get(backend) == mark):
            del store.slots[backend]
        for backend, checkpoint in news.loaded.items():
            if backend not in store.slots:
                store.set_loaded(backend, checkpoint)
        for backend in news.removed:
            self._remove(backend)
        store.catalogue |= news.inventories
        if news.inventories or news.removed:
            store.catalogue_version += 1
        if store.waiting:
            store.nudge()

    def _publish_states(self, news: PoolNews) -> None:
        store = self._store
        store.states |= news.states
        store.states_version += bool(news.states or news.removed)
        for backend in news.states:
            store.conditions.pop(backend, None)
            if news.conditions.get(backend, FIT) != FIT:
                store.conditions[backend] = news.conditions[backend]

    def _remove(self, backend: str) -> None:
        store = self._store
        for known in (store.states, store.conditions, store.loaded, store.catalogue):
            known.pop(backend, None)
        if backend in store.slots and store.slots[backend].is_recovering:
            del store.slots[backend]

    async def standings(self) -> Mapping[str, tuple[str, Condition]]:
        """Every backend's last published state, with its condition."""
        store = self._store
        return {name: (state, store.conditions.get(name, FIT)) for name, state in store.states.items()}

    async def inventories(self) -> Mapping[str, bytes]:
        """The last published inventory of each backend."""
        return dict(self._store.catalogue)

    async def wish_rescan(self, wish: str) -> None:
        """Leave a wish for a rescan of the pool."""
        self._store.rescan_wish = wish

    async def rescan_wish(self) -> str:
        """The last wish for a rescan."""
        return self._store.rescan_wish

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when the dispatcher has something to do, or when the time is up."""
        mailbox = self._store.mailboxes[self._process]
        await mailbox.until(lambda: mailbox.has_work, timeout_s)
        mailbox.has_work = False

    async def resign(self) -> None:
        """Give the dispatcher's lease up."""
        if self._store.dispatcher() == self._process:
            self._store.lease = None

    async def remember(self, memory: bytes) -> None:
        """Keep the scheduler's memory."""
        self._store.memory = memory

    async def memory(self) -> bytes:
        """The scheduler's memory."""
        return self._store.memory

    async def foretell(self, forecast: Forecast) -> bool:
        """Publish the forecast; False without the lease."""
        if self._store.dispatcher() != self._process:
            return False
        self._store.forecast = forecast
        return True

    async def prospect(self, job_id: str) -> Prospect | None:
        """What was foretold of a waiting job."""
        return self._store.forecast.jobs.get(job_id)

    async def queue(self) -> tuple[PoolChanges, Mapping[str, Prospect]]:
        """Every waiting job in order of entry, and the whole pool; and what was foretold of each job."""
        store = self._store
        seen = PoolChanges(
            at=store.now_us / MICROSECONDS,
            is_all=True,
            arrived=tuple(
                WaitingJob(job_id, store.jobs[job_id].entered_us / MICROSECONDS, store.jobs[job_id].ticket)
                for job_id in store.waiting
            ),
            left=(),
            slots={backend: slot.view(backend) for backend, slot in store.slots.items()},
            loaded=dict(store.loaded),
            states=dict(store.states),
        )
        return seen, dict(store.forecast.jobs)

    async def job(self, job_id: str) -> JobLine | None:
        """One job, None if the store does not know it."""
        job = self._store.jobs.get(job_id)
        if job is None:
            return None
        entered_at, started_at = job.entered_us / MICROSECONDS, job.started_us / MICROSECONDS
        where = (job.tenant, job.process, job.checkpoint, job.backend)
        return JobLine(job_id, job.state, *where, entered_at, started_at, job.why)

    # --- Outbox

    async def read(self, count: int) -> Sequence[tuple[str, Record]]:
        """The oldest records with their tokens; they stay until dropped."""
        return [(token, record) for token, (_, record) in itertools.islice(self._store.outbox.items(), count)]

    async def drop(self, tokens: Sequence[str]) -> None:
        """Forget records that the ledger has."""
        for token in tokens:
            self._store.outbox.pop(token, None)

    async def set_aside(self, token: str, why: str) -> None:
        """Keep that record apart, so that it holds up no other."""
        if token in self._store.outbox:
            self._store.aside[token] = (why, self._store.outbox.pop(token))

    async def aside(self) -> Mapping[str, str]:
        """What was set aside: by token, why."""
        return {token: why for token, (why, _) in self._store.aside.items()}

    async def aside_count(self) -> int:
        """How many were."""
        return len(self._store.aside)

    async def ask_again(self, tokens: Sequence[str]) -> None:
        """Back among the others with those that were set aside."""
        for token in tokens:
            if token in self._store.aside:
                self._store.outbox[str(self._store.number())] = self._store.aside.pop(token)[1]

    async def admitted(self) -> Count:
        """How many jobs were admitted since the store's data began."""
        return Count(self._store.counting_since_us / MICROSECONDS, self._store.admitted)

    async def tally(self) -> Tally:
        """What was admitted and has no record in the ledger yet."""
        store = self._store
        entered = {job_id: job.entered_us / MICROSECONDS for job_id, job in store.jobs.items() if job.tenant != UPKEEP}
        closed = [*store.outbox.values(), *(kept for _, kept in store.aside.values())]
        unwritten = {record.job_id: record.entered_at for _, record in closed}
        still_open = {job_id: entered[job_id] for job_id in store.of() if job_id in entered}
        return Tally(store.now_us / MICROSECONDS, await self.admitted(), still_open, unwritten)


def _millionths(amount: float) -> int:
    return round(amount * 1_000_000)

"""What the processes of `MemoryJobs` share: the state behind the oracle, and the rules that several operations use."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.backends import Condition
from gateway.domain.jobs import Operation, Outcome
from gateway.domain.limits import MICROSECONDS
from gateway.domain.scheduling import Forecast
from gateway.domain.usage import Measure, Record, Window
from gateway.ports import Granted, Message, Queued, SlotView

DISPATCHER_LEASE_US = 3 * MICROSECONDS
MAX_EVENTS = 10_000
UPKEEP = "-"
RULE_0 = "free with its checkpoint loaded while nobody waited"

QuotaKey = tuple[str, Measure, Window, int]  # tenant, measure, window, its first day since 1970


@dataclass(slots=True)
class Job:
    """An admitted job, or an upkeep's; `state` is waiting, running or closed."""

    tenant: str
    process: str
    checkpoint: str
    cap: int
    entered_us: int
    static: bytes = b"{}"
    ticket: bytes = b"{}"
    reserved: dict[QuotaKey, int] = field(default_factory=dict)
    state: str = "waiting"
    backend: str = ""
    started_us: int = 0
    before: str = ""
    why: str = ""
    ended_us: int = 0
    outcome: Outcome | None = None
    is_corrected: bool = False
    key_id: str = ""
    task_id: str = ""
    shown: bytes = b""
    asked_us: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Slot:
    """Who holds a backend, since when; a recovering one is held by nobody and given to nobody."""

    job_id: str
    tenant: str
    since_us: int
    is_recovering: bool = False

    @property
    def mark(self) -> str:
        """The slot's identity, as Redis writes it."""
        return (
            f"! {self.job_id} {self.since_us}" if self.is_recovering else f"{self.job_id} {self.tenant} {self.since_us}"
        )

    def view(self, backend: str) -> SlotView:
        """The slot as the dispatcher reads it."""
        since, mark = self.since_us / MICROSECONDS, self.mark
        return SlotView(backend, self.job_id, self.tenant, since, is_recovering=self.is_recovering, mark=mark)


@dataclass(slots=True)
class Mailbox:
    """What waits for one process; `has_arrived` wakes whoever waits for either."""

    woken: deque[Message] = field(default_factory=deque)
    has_work: bool = False
    has_arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, is_there: Callable[[], bool], timeout_s: float) -> None:
        """Return when it is there, or when the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not is_there():
                    self.has_arrived.clear()
                    await self.has_arrived.wait()


class MemoryStore:
    """What all processes share."""

    def __init__(self, now_us: int = 1_800_000_000 * MICROSECONDS) -> None:
        self.now_us = now_us
        self._numbers = itertools.count(1)
        self.lose_everything()

    def lose_everything(self) -> None:
        """Be empty, as a Redis that lost its data."""
        self.generation = self.epoch = ""
        self.answers: dict[str, Any] = {}
        self.jobs: dict[str, Job] = {}
        self.slots: dict[str, Slot] = {}
        self.loaded: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.conditions: dict[str, Condition] = {}
        self.states_version = 0
        self.catalogue: dict[str, bytes] = {}
        self.catalogue_version = 0
        self.rescan_wish = ""
        self.arrivals: dict[str, int] = {}
        self.used: dict[QuotaKey, int] = {}
        self.asked: set[tuple[QuotaKey, str]] = set()
        self.heartbeats: dict[str, int] = {}
        self.mailboxes: dict[str, Mailbox] = defaultdict(Mailbox)
        self.caution: tuple[int, str] = (0, "")
        self.grace_us = 0
        self.counting_since_us = 0
        self.admitted = 0
        self.lease: tuple[str, int] | None = None
        self.memory = b""
        self.forecast = Forecast({}, {}, {})
        self.term = 0
        self.events: list[tuple[int, str, str]] = []
        self.outbox: dict[str, tuple[str, Record]] = {}
        self.aside: dict[str, tuple[str, tuple[str, Record]]] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.option_versions: dict[str, str] = {}

    def fast_forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += round(seconds * MICROSECONDS)

    def number(self) -> int:
        """One more than the last."""
        return next(self._numbers)

    def of(self, *, tenant: str = "", process: str = "", states: tuple[str, ...] = ("waiting", "running")) -> list[str]:
        """The jobs of a tenant or process in these states, in order of entry."""
        found = [
            (job.entered_us, job_id)
            for job_id, job in self.jobs.items()
            if job.state in states and tenant in ("", job.tenant) and process in ("", job.process)
        ]
        return [job_id for _, job_id in sorted(found)]

    @property
    def is_cautious(self) -> bool:
        """Whether nothing may be granted, because those who hold jobs may not have put them back yet."""
        return self.now_us < self.caution[0]

    def be_cautious(self, cause: str, lease_us: int) -> None:
        """Grant nothing for a lease, once for each cause; every key is looked up anew."""
        if self.caution[1] != cause:
            self.caution = (self.now_us + lease_us, cause)
            self.epoch = f"epoch {self.number()}"

    @property
    def waiting(self) -> list[str]:
        """All waiting jobs, in order of entry."""
        return self.of(states=("waiting",))

    def dispatcher(self) -> str | None:
        """The process whose lease has not run out."""
        if self.lease is None or self.now_us - self.lease[1] > DISPATCHER_LEASE_US:
            return None
        return self.lease[0]

    def soonest_s(self, tenant: str) -> float:
        """Seconds until the first waiting job of the tenant should start, 0.0 where nothing is foretold."""
        starts_at = self.forecast.tenants.get(tenant)
        return 0.0 if starts_at is None else max(0.0, starts_at - self.now_us / MICROSECONDS)

    def nudge(self) -> None:
        """Tell the dispatcher, if there is one, that it has something to do."""
        if leader := self.dispatcher():
            self.mailboxes[leader].has_work = True
            self.mailboxes[leader].has_arrived.set()

    def event(self, kind: str, job_id: str) -> None:
        """Note for the dispatcher that a ticket came (A) or left (L), or that a job began by rule 0 (B)."""
        self.events.append((self.number(), kind, job_id))
        if kind != "B" and len(self.events) > MAX_EVENTS:
            self.events.clear()
            self.term = self.number()

    def place(self, job: Job, backends: Sequence[str]) -> str | None:
        """Rule 0: nobody waits, a free backend has the checkpoint, the tenant runs fewer than its cap."""
        if self.is_cautious or self.dispatcher() is None:
            return None
        if self.waiting or len(self.of(tenant=job.tenant, states=("running",))) >= job.cap:
            return None
        for backend in backends:
            has_it = job.checkpoint in ("", self.loaded.get(backend))
            if backend not in self.slots and self.states.get(backend) == "up" and has_it:
                return backend
        return None

    def start(self, job_id: str, job: Job, backend: str, why: str = RULE_0) -> Granted:
        """Give the job its slot, for this reason."""
        job.why = why
        job.state, job.backend, job.started_us = "running", backend, self.now_us
        job.before = self.loaded.get(backend, "")
        self.slots[backend] = Slot(job_id, job.tenant, self.now_us)
        if job.checkpoint:
            self.loaded[backend] = job.checkpoint
        if why == RULE_0:
            self.event("B", job_id)
        return Granted(backend, job.before, self.now_us / MICROSECONDS, why)

    def queue(self, job_id: str, job: Job) -> Queued:
        """Let the job wait, by its time of entry."""
        job.state = "waiting"
        self.event("A", job_id)
        self.nudge()
        return Queued(self.waiting.index(job_id) + 1, self.now_us / MICROSECONDS)

    def put_back(self, job_id: str, job: Job, granted: Granted | None) -> None:
        """Know a job again; who holds its backend by now keeps it."""
        self.jobs[job_id] = job
        if granted is None:
            self.queue(job_id, job)
            return
        job.state, job.backend, job.before = "running", granted.backend, granted.loaded_before
        job.started_us = round(granted.at * MICROSECONDS)
        if granted.backend not in self.slots:
            self.slots[granted.backend] = Slot(job_id, job.tenant, job.started_us)
            self.set_loaded(granted.backend, job.checkpoint)

    def set_loaded(self, backend: str, checkpoint: str) -> None:
        """Know what a backend has loaded; "" forgets it."""
        if checkpoint:
            self.loaded[backend] = checkpoint
        else:
            self.loaded.pop(backend, None)

    def free_slot(self, job_id: str, backend: str, loaded: str | None) -> None:
        """Give back the slot that this job holds, or that waits for its end."""
        slot = self.slots.get(backend)
        if slot is not None and slot.job_id == job_id:
            del self.slots[backend]
            if loaded is not None:
                self.set_loaded(backend, loaded)

    def mark_recovering(self, job_id: str, backend: str) -> None:
        """Keep the job's slot from everybody until the backend is quiet."""
        slot = self.slots.get(backend)
        if slot is not None and slot.job_id == job_id and not slot.is_recovering:
            self.slots[backend] = Slot(job_id, "", self.now_us, is_recovering=True)

    def settle(self, job: Job, used: Mapping[Measure, int], *, holds_reservation: bool) -> None:
        """Count what was used, in place of what was reserved where that still stands."""
        for key, amount in job.reserved.items():
            if key not in self.used:  # lost with everything, and not asked for since
                continue
            self.used[key] += used.get(key[1], 0) - (amount if holds_reservation else 0)

    def close(self, job_id: str, outcome: Outcome, used: Mapping[Measure, int], final: bytes) -> None:
        """Give back all but the slot, and keep the record."""
        job = self.jobs[job_id]
        if job.state == "waiting":
            self.event("L", job_id)
        job.state, job.outcome, job.ended_us = "closed", outcome, self.now_us
        self.settle(job, used, holds_reservation=True)
        self.keep_record(job_id, outcome, final)

    def keep_record(self, job_id: str, outcome: Outcome, final: bytes) -> None:
        """Put the job's record into the outbox; an upkeep has none."""
        job = self.jobs[job_id]
        if job.tenant == UPKEEP:
            return
        parts = json.loads(job.static) | json.loads(final)
        parts["operation"] = Operation(parts["operation"])
        record = Record(
            job_id=job_id,
            outcome=outcome,
            backend=job.backend,
            entered_at=job.entered_us / MICROSECONDS,
            started_at=job.started_us / MICROSECONDS,
            ended_at=self.now_us / MICROSECONDS,
            why=job.why,
            **parts,
        )
        self.outbox[str(self.number())] = (job_id, record)

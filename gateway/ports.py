"""What the flow needs of the outside, as protocols; the adapters fulfil them and `wiring` puts the two together.

Every method may raise `StoreUnavailable` where a store is behind it. Times are seconds since the epoch by the clock
of the
store that answers, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.jobs import Outcome
from gateway.domain.keys import Caller
from gateway.domain.usage import Measure, Record, Window

# --- durable state -------------------------------------------------------------------------------


class KeyStore(Protocol):
    """Keys with their tenants, plans, grants and overrides."""

    async def find_caller(self, digest: str) -> Caller | None:
        """The caller whose key has this SHA-256, None if there is none or it is revoked. Expiry is the flow's to
        check."""


class Ledger(Protocol):
    """Closed jobs."""

    async def insert(self, records: Sequence[Record]) -> None:
        """Keep each record once: an id already kept is left alone, but for one kept as `lost`, which is corrected."""

    async def used(self, tenant_id: str, measure: Measure, window: Window, since: float) -> float:
        """What the tenant's jobs that entered at or after `since` used of this measure."""


# --- hot state -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota that a job draws on: at most `limit` a window, of which this job reserves `amount`."""

    measure: Measure
    window: Window
    limit: float
    amount: float


@dataclass(frozen=True, slots=True)
class Rate:
    """A GCRA limit: `per_minute` calls on the long run, `burst` at once. `subject` names who is limited."""

    subject: str
    per_minute: float
    burst: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that asks to be admitted; the same `operation_id` again gets the first answer and takes nothing.

    `runnable_on` in order of preference; `static` is what the ledger's record can say now and `ticket` what the
    scheduler needs, both JSON; `epoch` is the revocation epoch under which the caller was looked up; `seeds` are the
    quota windows that `SeedsNeeded` asked for, entered under a new operation id and the same job id.
    """

    operation_id: str
    job_id: str
    tenant_id: str
    epoch: str
    checkpoint: str
    runnable_on: tuple[str, ...]
    max_concurrency: int
    max_queued: int
    rates: tuple[Rate, ...] = ()
    quotas: tuple[Quota, ...] = ()
    seeds: Mapping[tuple[Measure, Window], float] = field(default_factory=dict)
    static: bytes = b"{}"
    ticket: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Granted:
    """The job runs: the slot of `backend` is its own until it leaves. `loaded_before`: its checkpoint until now."""

    backend: str
    loaded_before: str
    at: float


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits, as the `position`th of all that wait."""

    position: int
    at: float


@dataclass(frozen=True, slots=True)
class RateState:
    """What is left of the tightest rate: calls that fit at once now, and seconds until all of the burst is back."""

    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job was admitted; it runs already, or waits."""

    place: Granted | Queued
    rate: RateState


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """Keys changed since the caller was looked up: look again and enter anew. Nothing was taken."""

    epoch: str


@dataclass(frozen=True, slots=True)
class SeedsNeeded:
    """These quota windows, each with its start, are not counted yet: ask the ledger and enter anew. Nothing was
    taken.
    """

    windows: tuple[tuple[Measure, Window, float], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Not admitted; nothing was taken. `limit` says which limit; `retry_after_s` is 0.0 where it depends on others."""

    limit: str
    which: str
    retry_after_s: float
    at: float


@dataclass(frozen=True, slots=True)
class Leaving:
    """A job that ends. `loaded` is the backend's checkpoint afterwards: None keeps what is known, "" forgets it.

    `final` is the rest of the ledger's record as JSON; `images` and `gpu_seconds` are what counts against quotas.
    `is_abandoned`: the backend may still be at work, so its slot stays taken until the backend is seen to be quiet.
    """

    operation_id: str
    job_id: str
    outcome: Outcome
    final: bytes = b"{}"
    loaded: str | None = None
    images: int = 0
    gpu_seconds: float = 0.0
    is_abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat brings back. `held` is None while store and process agree on how many jobs the process holds."""

    at: float
    generation: str
    epoch: str
    catalogue_version: str
    dispatcher: str
    reaped: int
    held: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Woken:
    """A message to this process: the waiting job was granted a backend."""

    job_id: str
    granted: Granted


@dataclass(frozen=True, slots=True)
class Remembered:
    """An admitted job as the process that holds it remembers it; `granted` is None while it waits."""

    entry: Entry
    entered_at: float
    granted: Granted | None


class JobStore(Protocol):
    """Where jobs are admitted and end: exact over all processes, safe to repeat."""

    async def enter(self, entry: Entry) -> Admitted | Refused | EpochChanged | SeedsNeeded:
        """Admit the job, all or nothing."""

    async def requeue(
        self, operation_id: str, job_id: str, runnable_on: tuple[str, ...], ticket: bytes, loaded: str | None
    ) -> Granted | Queued | None:
        """Give the job's slot back after a failed attempt and ask again elsewhere; None if it no longer runs."""

    async def leave(self, leaving: Leaving) -> bool:
        """End the job; False if nothing was open (any more) under that id."""

    async def restore(self, operation_id: str, remembered: Remembered) -> bool:
        """Put a job back into a store that lost its data; False if the store knows it. Its rates and quotas are not
        taken again.
        """

    async def beat(self, held_count: int) -> Beat:
        """Say that this process lives, close what dead ones left, learn what changed."""

    async def look(self, job_ids: Sequence[str]) -> dict[str, Granted]:
        """Those of the waiting jobs that were granted meanwhile."""

    async def next_message(self, timeout_s: float) -> Woken | None:
        """The next message to this process, None when none came in time."""

    async def epoch(self) -> str:
        """The revocation epoch now."""


class Announcer(Protocol):
    """Tells every process that keys, grants, plans or overrides have changed."""

    async def keys_changed(self) -> None:
        """Begin a new revocation epoch: every cached caller is looked up anew before its next job."""


@dataclass(frozen=True, slots=True)
class SlotView:
    """Who holds a backend's slot. `is_recovering`: the holder was lost and the backend may still be at work."""

    backend: str
    job_id: str
    tenant_id: str
    since: float
    is_recovering: bool
    mark: str


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A ticket as the dispatcher reads it; `ticket` is the JSON that entered with it."""

    job_id: str
    entered_at: float
    ticket: bytes


@dataclass(frozen=True, slots=True)
class PoolChanges:
    """What a leader learns: with `is_all`, `arrived` is every waiting job and what was known before is void."""

    at: float
    is_all: bool
    arrived: tuple[WaitingJob, ...]
    left: tuple[str, ...]
    slots: Mapping[str, SlotView]
    loaded: Mapping[str, str]
    states: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PoolNews:
    """What the watcher found out; `quiet` maps a recovering backend to the slot's mark it may lose."""

    states: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)
    quiet: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    inventories: Mapping[str, bytes] = field(default_factory=dict)


class PoolStore(Protocol):
    """The pool's shared state: who dispatches, who waits, what each backend does and has."""

    async def poll(self, *, from_scratch: bool) -> PoolChanges | None:
        """Take or renew the dispatcher's lease and read what changed; None when another process holds it."""

    async def grant(self, operation_id: str, grants: Sequence[tuple[str, str]]) -> list[str]:
        """Carry out (job, backend) decisions; a word for each: granted, gone, taken, cap. All `deposed` without
        the lease.
        """

    async def hold(self, operation_id: str, job_id: str, backend: str) -> bool:
        """Take a free backend's slot for upkeep; it is given back by `JobStore.leave`."""

    async def publish(self, operation_id: str, news: PoolNews) -> None:
        """Let every process know."""

    async def inventories(self) -> Mapping[str, bytes]:
        """The last published inventory of each backend, as JSON."""

    async def wait_for_work(self, timeout_s: float) -> None:
        """Return when the dispatcher has something to do, or when the time is up."""

    async def resign(self) -> None:
        """Give the dispatcher's lease up, so that another process takes it at once."""


class Outbox(Protocol):
    """Closed records on their way into the ledger."""

    async def read(self, count: int) -> Sequence[tuple[str, Record]]:
        """The oldest records with their tokens; they stay until dropped."""

    async def drop(self, tokens: Sequence[str]) -> None:
        """Forget records that the ledger has."""

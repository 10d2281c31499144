"""Hot state of jobs: where they are admitted and end. Times are seconds since the epoch by the store's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.jobs import Outcome
from gateway.domain.reconciliation import Count, Tally
from gateway.domain.usage import Measure, Record, Window
from gateway.ports.own import Asked, Preview, Wished
from gateway.ports.rates import Rate, RateState


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota that a job draws on: at most `limit` a window, of which this job reserves `amount`."""

    measure: Measure
    window: Window
    limit: float
    amount: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that asks to be admitted; the same `operation_id` again gets the first answer and takes nothing.

    `runnable_on` in order of preference; `static` is what the ledger's record can say now and `ticket` what the
    scheduler needs, both JSON; `epoch` is the revocation epoch under which the caller was looked up; `seeds` are the
    quota windows that `SeedsNeeded` asked for, entered under a new operation id and the same job id;
    `options_version` is that of the key's posted options by which the job was shaped, None if by none.
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
    key_id: str = ""
    task_id: str = ""
    options_version: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The job runs: the slot of `backend` is its own until it leaves. `loaded_before`: its checkpoint until now.

    `why` is the reason of this placement, in words.
    """

    backend: str
    loaded_before: str
    at: float
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits, as the `position`th of all that wait."""

    position: int
    at: float


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
class OptionsChanged:
    """The key's posted options are not those by which the job was shaped: look again. Nothing was taken."""


@dataclass(frozen=True, slots=True)
class SeedsNeeded:
    """These quota windows, each with its start, are not counted yet: ask the ledger and enter anew. Nothing was
    taken.
    """

    windows: tuple[tuple[Measure, Window, float], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Not admitted; nothing was taken. `limit` says which limit; `retry_after_s` is 0.0 where nobody can tell."""

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
    """What a heartbeat brings back. `held` is None while store and process agree on how many jobs the process holds;
    the versions change with what they are of.

    `has_lost_data`: since this process's last heartbeat the store lost everything, or began anew and may lack its
    latest writes: the process must put back what it holds.
    """

    at: float
    generation: str
    epoch: str
    catalogue_version: str
    states_version: str
    dispatcher: str
    reaped: int
    held: frozenset[str] | None
    has_lost_data: bool = False


@dataclass(frozen=True, slots=True)
class Woken:
    """A message to this process: the waiting job was granted a backend."""

    job_id: str
    granted: Granted


Message = Woken | Asked | Wished | Preview
"""What reaches a process through the store."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """An admitted job as the process that holds it remembers it; `granted` is None while it waits."""

    entry: Entry
    entered_at: float
    granted: Granted | None


Entered = Admitted | Refused | EpochChanged | OptionsChanged | SeedsNeeded


class JobStore(Protocol):
    """Where jobs are admitted and end: exact over all processes, safe to repeat."""

    async def enter(self, entry: Entry) -> Entered:
        """Admit the job, all or nothing."""

    async def requeue(
        self, operation_id: str, job_id: str, runnable_on: tuple[str, ...], ticket: bytes, loaded: str | None
    ) -> Granted | Queued | None:
        """Give the job's slot back after a failed attempt and ask again elsewhere; None if it no longer runs.

        `loaded` is the backend's checkpoint afterwards, "" where that is uncertain; None says that the backend may
        still be at work, so its slot stays taken until it is seen to be quiet.
        """

    async def leave(self, leaving: Leaving) -> bool:
        """End the job; False if nothing was open (any more) under that id."""

    async def restore(self, operation_id: str, remembered: Remembered) -> bool:
        """Put a job back into a store that lost its data; False if the store knows it. Its rates are not taken again;
        what it reserved of quotas is.
        """

    async def beat(self, held_count: int) -> Beat:
        """Say that this process lives, close what dead ones left, learn what changed.

        A store that lost data grants nothing for one lease after the first such heartbeat.
        """

    async def look(self, job_ids: Sequence[str]) -> dict[str, Granted]:
        """Those of the waiting jobs that were granted meanwhile."""

    async def next_message(self, timeout_s: float) -> Message | None:
        """The next message to this process, None when none came in time."""

    async def epoch(self) -> str:
        """The revocation epoch now."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A closed record that cannot be understood; `job_id` is "" where not even that can be told."""

    job_id: str
    why: str


class Outbox(Protocol):
    """Closed records on their way into the ledger."""

    async def read(self, count: int) -> Sequence[tuple[str, Record | Unreadable]]:
        """The oldest records with their tokens; they stay until dropped or set aside."""

    async def drop(self, tokens: Sequence[str]) -> None:
        """Forget records that the ledger has."""

    async def set_aside(self, token: str, why: str) -> None:
        """Keep that record apart, so that it holds up no other; set aside twice it is kept once."""

    async def aside(self) -> Mapping[str, str]:
        """What was set aside: by token, why."""

    async def aside_count(self) -> int:
        """How many were."""

    async def ask_again(self, tokens: Sequence[str]) -> None:
        """Back among the others with those that were set aside."""

    async def admitted(self) -> Count:
        """How many jobs were admitted since the store's data began."""


class Tallies(Protocol):
    """What the ledger must have or get."""

    async def tally(self) -> Tally:
        """What was admitted and has no record in the ledger yet, at one moment."""

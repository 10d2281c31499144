"""The jobs this process answers for, and how word of a granted backend reaches the call that waits for it.

A job stands here from before it is entered until its leaving was acknowledged: what the store holds for this process
and what stands here are compared at every heartbeat, and put back from here into a store that lost its data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gateway.domain.errors import StoreUnavailable
from gateway.flow.attention import Attention
from gateway.ports import Asked, Entry, Granted, Message, Preview, Remembered, Wished, Woken

MOST_PREVIEWS = 32


class InterruptedInQueue(Exception):
    """Its caller wants the job to end, and it has not begun."""


@dataclass(slots=True)
class HeldJob:
    """One job of this process. `admitted_at` by the loop's clock, None while entering is under way.

    `upkeep_of`: the backend whose slot the gateway's own work holds under this id; "" for a caller's job.
    """

    job_id: str
    admitted_at: float | None = None
    place: Granted | None = None
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False
    given_back: Granted | None = None
    attention: Attention = field(default_factory=Attention)
    entry: Entry | None = None
    entered_at: float = 0.0
    upkeep_of: str = ""

    def was_admitted(self, entry: Entry, entered_at: float, now: float) -> None:
        """The store has the job, with this entry, since `entered_at` by its clock and `now` by the loop's."""
        self.entry, self.entered_at, self.admitted_at = entry, entered_at, now

    def remembered(self) -> Remembered | None:
        """The job as it is now, to be put back into a store that forgot it; None if it was never admitted."""
        return None if self.entry is None else Remembered(self.entry, self.entered_at, self.place)

    def take(self, granted: Granted) -> None:
        """The job has this backend now; the call that waits goes on. The first word counts, and no late word of the
        backend that was given back.
        """
        if self.place is None and granted != self.given_back:
            self.place = granted
            self.granted.set()

    def wait_again(self, runnable_on: tuple[str, ...], ticket: bytes) -> None:
        """The job gives its backend back and waits for another of these."""
        self.place, self.given_back = None, self.place
        if not self.attention.wish:
            self.granted.clear()
        if self.entry is not None:
            self.entry = replace(self.entry, runnable_on=runnable_on, ticket=ticket)

    def wish_for(self, wish: str) -> None:
        """The caller wants the job to end: one that waits needs no backend any more."""
        self.attention.wish_for(wish)
        self.granted.set()

    async def backend(self) -> Granted:
        """The backend, once there is one. Raises StoreUnavailable if the store forgot the job meanwhile, and
        InterruptedInQueue if its caller wants it no more.
        """
        await self.granted.wait()
        if self.attention.wish:
            raise InterruptedInQueue
        if self.place is None:
            raise StoreUnavailable("The gateway's store lost the queue. Send the call again.")
        return self.place


class HeldJobs:
    """All jobs of this process, by id."""

    def __init__(self) -> None:
        self._jobs: dict[str, HeldJob] = {}
        self.previews: dict[str, str] = {}  # of jobs of other processes that somebody looks at here

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def open(self, job_id: str) -> HeldJob:
        """A new job, before it is entered."""
        return self._jobs.setdefault(job_id, HeldJob(job_id, attention=Attention(job_id)))

    def close(self, job_id: str) -> None:
        """The job has left, or was never admitted."""
        self._jobs.pop(job_id, None)

    def get(self, job_id: str) -> HeldJob | None:
        """The job, None if it is not (any longer) held."""
        return self._jobs.get(job_id)

    def deliver(self, message: Message) -> None:
        """Tell the job's call; a job that is gone meanwhile has left or will leave, which gives the slot back."""
        job = self._jobs.get(message.job_id)
        match message:
            case Preview():
                self._keep(message)
            case Woken() if job is not None:
                job.take(message.granted)
            case Asked() if job is not None:
                job.attention.look(message.process, with_preview=message.with_preview)
            case Wished() if job is not None:
                job.wish_for(message.wish)

    def _keep(self, preview: Preview) -> None:
        self.previews.pop(preview.job_id, None)
        self.previews[preview.job_id] = preview.image
        if len(self.previews) > MOST_PREVIEWS:
            del self.previews[next(iter(self.previews))]

    def admitted(self) -> tuple[HeldJob, ...]:
        """Every job that the store admitted, oldest first."""
        return tuple(job for job in self._jobs.values() if job.entry is not None)

    def upkeep(self) -> tuple[tuple[str, str], ...]:
        """The gateway's own work under way: (id, the backend whose slot it holds)."""
        return tuple((job.job_id, job.upkeep_of) for job in self._jobs.values() if job.upkeep_of)

    def waiting(self) -> tuple[str, ...]:
        """Ids of admitted jobs without a backend, oldest first."""
        return tuple(job.job_id for job in self._jobs.values() if job.admitted_at is not None and job.place is None)

    def reconcile(self, in_store: Iterable[str], beaten_at: float) -> tuple[str, ...]:
        """Compare with what the store holds, as of a heartbeat sent at `beaten_at`.

        Gives the store's jobs that nobody here answers for: they must be made to leave. A waiting job that the store
        does not know (any more) is told that it is lost.
        """
        held = frozenset(in_store)
        for job in self._jobs.values():
            was_admitted = job.admitted_at is not None and job.admitted_at < beaten_at
            if was_admitted and job.place is None and job.job_id not in held:
                job.is_lost = True
                job.granted.set()
        return tuple(sorted(held - self._jobs.keys()))

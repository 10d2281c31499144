"""Which waiting job gets which backend: the pure scheduler behind the dispatcher and the pool simulator.

Events go in (`arrived`, `left`, `backend_changed`, `tick`), effects come out (`Grant`). It knows no clock and no I/O:
every event carries `now`, in seconds on any steady scale. Whoever drives it applies each effect before the next
event, and reports what became of it by `backend_changed`.

Rules of this first policy, in order:
(1) A backend takes a job only while it is free, and only a job it can run.
(2) A tenant never runs more jobs at once than its cap.
(3) A job whose checkpoint is loaded on a free backend goes first, the oldest of those first.
(4) Else the oldest job goes to the fastest free backend that can run it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting job. `runnable_on`: names of the backends that have all it requires, up or down.

    `arrived_at` is in seconds on the scale of `now`; `work` in megapixel-steps (steps x megapixels x images), 0 for an
    upscale; `checkpoint` "" when any will do; `tenant_cap` is how many jobs the tenant may run at once.
    """

    job_id: str
    tenant: str
    checkpoint: str
    runnable_on: frozenset[str]
    arrived_at: float
    work: float = 0.0
    tenant_cap: int = 1_000_000
    tenant_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """The job that holds a backend's slot. `job_id` is "" for the gateway's own upkeep of that backend."""

    job_id: str
    tenant: str
    checkpoint: str
    started_at: float
    work: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend as the scheduler sees it: `usable` is up and not draining; free iff usable and not running."""

    name: str
    loaded: str
    usable: bool
    running: Running | None = None
    seconds_per_megapixel_step: float = 0.25
    swap_s: float = 12.0

    @property
    def is_free(self) -> bool:
        """Whether a job may start here now."""
        return self.usable and self.running is None


@dataclass(frozen=True, slots=True)
class Grant:
    """The effect: this waiting job starts on that backend, now."""

    job_id: str
    backend: str


class Scheduler:
    """Holds the queue and the pool's view; each event returns the grants that follow from it."""

    def __init__(self) -> None:
        self._waiting: dict[str, Ticket] = {}
        self._backends: dict[str, BackendView] = {}

    @property
    def waiting(self) -> tuple[Ticket, ...]:
        """The waiting jobs, oldest first."""
        return tuple(sorted(self._waiting.values(), key=lambda t: (t.arrived_at, t.job_id)))

    def arrived(self, tickets: Iterable[Ticket], now: float) -> list[Grant]:
        """New waiting jobs; a job already known is replaced."""
        self._waiting.update({ticket.job_id: ticket for ticket in tickets})
        return self.tick(now)

    def left(self, job_ids: Iterable[str], now: float) -> list[Grant]:
        """Jobs that no longer wait (withdrawn, expired, or granted elsewhere); unknown ids are ignored."""
        for job_id in job_ids:
            self._waiting.pop(job_id, None)
        return self.tick(now)

    def backend_changed(self, backends: Iterable[BackendView], now: float) -> list[Grant]:
        """Backends as they are now: a job began or ended there, a checkpoint was loaded, it went up or down."""
        self._backends.update({backend.name: backend for backend in backends})
        return self.tick(now)

    def backend_removed(self, names: Iterable[str]) -> None:
        """Backends that are no longer part of the pool."""
        for name in names:
            self._backends.pop(name, None)

    def tick(self, now: float) -> list[Grant]:
        """All grants possible now; each is taken as carried out until `backend_changed` says otherwise."""
        grants: list[Grant] = []
        while (grant := self._next_grant()) is not None:
            grants.append(grant)
            self._carry_out(grant, now)
        return grants

    def _next_grant(self) -> Grant | None:
        free = sorted(
            (b for b in self._backends.values() if b.is_free), key=lambda b: (b.seconds_per_megapixel_step, b.name)
        )  # (1)
        if not free:
            return None
        fallback: Grant | None = None
        for ticket in self.waiting:
            if self._running_of(ticket.tenant) >= ticket.tenant_cap:  # (2)
                continue
            able = [b for b in free if b.name in ticket.runnable_on]
            for backend in able:
                if ticket.checkpoint in ("", backend.loaded):  # (3)
                    return Grant(ticket.job_id, backend.name)
            if able and fallback is None:  # (4)
                fallback = Grant(ticket.job_id, able[0].name)
        return fallback

    def _running_of(self, tenant: str) -> int:
        return sum(1 for b in self._backends.values() if b.running is not None and b.running.tenant == tenant)

    def _carry_out(self, grant: Grant, now: float) -> None:
        ticket = self._waiting.pop(grant.job_id)
        before = self._backends[grant.backend]
        self._backends[grant.backend] = BackendView(
            name=before.name,
            loaded=ticket.checkpoint or before.loaded,
            usable=before.usable,
            running=Running(ticket.job_id, ticket.tenant, ticket.checkpoint, now, ticket.work),
            seconds_per_megapixel_step=before.seconds_per_megapixel_step,
            swap_s=before.swap_s,
        )

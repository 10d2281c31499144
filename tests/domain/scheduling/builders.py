"""Builders: a job, a backend and a small driver that plays the pool for a scheduler, in seconds of virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.scheduling import BackendView, Grant, Policy, Scheduler, Ticket

SECONDS_PER_WORK = 0.25
SWAP_S = 12.0


def a_job(job_id: str, checkpoint: str = "A", tenant: str = "t", on: str = "b1 b2", **more: Any) -> Ticket:
    """A job of 5 s on an average backend."""
    values: dict[str, Any] = {"arrived_at": 0.0, "work": 20.0} | more
    return Ticket(job_id=job_id, tenant=tenant, checkpoint=checkpoint, runnable_on=frozenset(on.split()), **values)


def a_backend(name: str, loaded: str = "", **more: Any) -> BackendView:
    """A free, usable backend."""
    return BackendView(name, loaded, **{"usable": True, **more})


def a_scheduler(*backends: BackendView, policy: Policy | None = None) -> Scheduler:
    """A scheduler that knows these backends."""
    scheduler = Scheduler(policy)
    scheduler.backend_changed(backends, 0.0)
    return scheduler


@dataclass
class Play:
    """Carries out what a scheduler decides: jobs take their work, swaps 12 s; `slow` gives slower backends."""

    scheduler: Scheduler
    slow: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    started: dict[str, tuple[float, Grant]] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    _ends: list[tuple[float, str, float, str]] = field(default_factory=list)
    _jobs: dict[str, Ticket] = field(default_factory=dict)
    loaded: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.loaded = {name: view.loaded for name, view in self.scheduler.backends.items()}

    def arrive(self, *tickets: Ticket) -> None:
        self._jobs.update({ticket.job_id: ticket for ticket in tickets})
        self.carry_out(self.scheduler.arrived(tickets, self.now))

    def carry_out(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            ticket = self._jobs[grant.job_id]
            assert grant.backend in ticket.runnable_on
            assert all(grant.backend != backend for _, backend, _, _ in self._ends), "above its one slot"
            assert grant.job_id not in self.started, "granted twice"
            before = self.loaded[grant.backend]
            assert grant.swaps == (ticket.checkpoint not in ("", before))
            elapsed_s = ticket.work * SECONDS_PER_WORK * self.slow.get(grant.backend, 1.0) + SWAP_S * grant.swaps
            self.loaded[grant.backend] = ticket.checkpoint or before
            self.started[grant.job_id] = (self.now, grant)
            heapq.heappush(self._ends, (self.now + elapsed_s, grant.backend, elapsed_s, grant.job_id))

    def step(self, until: float = float("inf")) -> bool:
        """To the next end or tick, at most to `until`; False when nothing is left to happen."""
        wake = self.scheduler.wake_at(self.now)
        moments = [m for m in (self._ends[0][0] if self._ends else None, wake) if m is not None]
        if not moments or min(moments) > until:
            self.now = max(self.now, until) if until != float("inf") else self.now
            return False
        self.now = min(moments)
        if self._ends and self._ends[0][0] <= self.now:
            _, backend, elapsed_s, job_id = heapq.heappop(self._ends)
            self.ended[job_id] = self.now
            self.carry_out(self.scheduler.finished(backend, elapsed_s, self.now))
        else:
            self.carry_out(self.scheduler.tick(self.now))
        return True

    def until(self, moment: float) -> None:
        while self.step(moment):
            pass

    def to_the_end(self, most_steps: int = 100_000) -> None:
        for _ in range(most_steps):
            if not self.step():
                return
        raise AssertionError("it never ends")

    def waits(self, *prefixes: str) -> list[float]:
        """Arrival to start of the jobs whose ids begin so, in order of their start."""
        found = [(at, job) for job, (at, _) in self.started.items() if not prefixes or job.startswith(prefixes)]
        return [at - self._jobs[job].arrived_at for at, job in sorted(found)]

    @property
    def swaps(self) -> int:
        return sum(1 for _, grant in self.started.values() if grant.swaps)

    def order(self) -> Sequence[str]:
        return [job for job, _ in sorted(self.started.items(), key=lambda item: item[1][0])]

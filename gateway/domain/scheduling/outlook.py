"""What a waiting job may expect and why it waits: a rehearsal of the near future, and one refusal per backend.

The rehearsal runs the rules themselves on a copy of the scheduler: running jobs end when their estimates say, waiting
jobs start as the rules have it. It is done twice: with nobody else coming, which is too hopeful, and with more jobs
coming at the rate at which each checkpoint is asked for, which is too gloomy; the estimate lies in the middle. The
scheduler itself is not changed. It costs as much as the decisions it rehearses: publish one snapshot for all readers.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable, Mapping, Sequence

from gateway.domain.scheduling.scheduler import Ending, Scheduler
from gateway.domain.scheduling.values import BackendView, Estimate, Explanation, Grant, Refusal, Ticket

MOST_STEPS = 2000
"""Decisions rehearsed for one snapshot; what has not started by then is extrapolated."""
HORIZON_S = 300.0
"""For how long further arrivals are expected in the second rehearsal."""
_SIZES = (0.4, 0.8, 1.8)
"""Expected jobs come in three sizes around the mean, as real ones do: short-before-long must meet them."""
_EXPECTED = "expected "
_EXPECTED_TENANTS = 16


def estimates(scheduler: Scheduler, now: float, most_steps: int = MOST_STEPS) -> Mapping[str, Estimate]:
    """Position and wait of every waiting job that is not a batch job, by job id."""
    waiting = [ticket for ticket in scheduler.waiting if not ticket.is_batch]
    if not waiting:
        return {}
    wanted = {ticket.job_id for ticket in waiting}
    hopeful = _Rehearsal(scheduler, [], now).run(wanted, most_steps)
    gloomy = _Rehearsal(scheduler, _expected(scheduler, now), now).run(wanted, most_steps)
    hopeful_s, gloomy_s = (_waits(scheduler, waiting, starts) for starts in (hopeful, gloomy))
    begins = sorted((wait_s, backend) for wait_s, backend in hopeful.values())
    return {
        ticket.job_id: Estimate(
            1 + _ahead(begins, hopeful_s[ticket.job_id], ticket.runnable_on),
            _between(hopeful_s[ticket.job_id], gloomy_s[ticket.job_id]),
        )
        for ticket in waiting
    }


def estimate(scheduler: Scheduler, job_id: str, now: float) -> Estimate | None:
    """The estimate of one job, None when it does not wait; as costly as all of them, so prefer `estimates`."""
    return estimates(scheduler, now).get(job_id)


def explain(scheduler: Scheduler, job_id: str, now: float) -> Explanation | None:
    """Why a job waits: for each backend what speaks against it now; None when the job does not wait."""
    state = scheduler.state
    ticket = state.room.ticket(job_id)
    if ticket is None:
        return None
    views = state.pool.views
    at_cap = state.pool.running_of(ticket.tenant) >= ticket.tenant_cap
    refusals = tuple((name, _refusal(ticket, view, at_cap=at_cap)) for name, view in sorted(views.items()))
    able = ticket.runnable_on
    return Explanation(
        job_id=job_id,
        refusals=refusals,
        loaded_on=tuple(sorted(n for n in state.pool.copies(ticket.checkpoint) if n in able)),
        waited_s=max(0.0, now - ticket.arrived_at),
        is_overdue=now >= ticket.arrived_at + ticket.age_bound_s,
        above_share_s=state.accounts.above_level(ticket.tenant) * ticket.tenant_weight,
    )


def _refusal(ticket: Ticket, view: BackendView, *, at_cap: bool) -> Refusal:
    if view.name not in ticket.runnable_on:
        return Refusal.UNABLE
    if not view.usable:
        return Refusal.DOWN
    if view.running is not None:
        return Refusal.BUSY if view.running.job_id else Refusal.UPKEEP
    if at_cap:
        return Refusal.CAP
    if ticket.checkpoint in ("", view.loaded):
        # Free, able and loaded: only the rules about speed (7) and about batch jobs (8) leave a job there.
        return Refusal.IDLE_ONLY if ticket.is_batch else Refusal.SLOWER
    return Refusal.IDLE_ONLY if ticket.is_batch else Refusal.SWAP_NOT_WORTH


def _between(hopeful_s: float, gloomy_s: float) -> float:
    """The mean, but newcomers rarely cost more than 0.7 of the wait: a rate learned in a burst does not last."""
    return (hopeful_s + min(gloomy_s, 1.7 * hopeful_s + 1.0)) / 2


def _ahead(begins: Sequence[tuple[float, str]], wait_s: float, able: frozenset[str]) -> int:
    """How many start earlier on a backend that this job could have used: only those compete with it."""
    return sum(1 for other_s, backend in begins[: bisect.bisect_left(begins, (wait_s, ""))] if backend in able)


def _waits(
    scheduler: Scheduler, waiting: Sequence[Ticket], starts: Mapping[str, tuple[float, str]]
) -> dict[str, float]:
    """Seconds each job waits; those not reached follow the last that was, by age, the whole pool working on them."""
    begin_s = max((wait_s for wait_s, _ in starts.values()), default=0.0)
    room, usable = scheduler.state.room, scheduler.state.pool.usable
    found: dict[str, float] = {}
    for ticket in waiting:
        if ticket.job_id in starts:
            found[ticket.job_id] = starts[ticket.job_id][0]
        else:
            found[ticket.job_id] = begin_s
            begin_s += room.cost_s(ticket.job_id) / usable
    return found


class _Rehearsal:
    def __init__(self, scheduler: Scheduler, expected: Sequence[Ticket], now: float) -> None:
        self._copy = scheduler.fork()
        self._begun_at = self._now = now
        self._expected = sorted(expected, key=lambda ticket: -ticket.arrived_at)
        self._ends = [(now + scheduler.state.pool.remaining_s(n, now), n) for n in _busy(scheduler)]
        heapq.heapify(self._ends)

    def run(self, wanted: set[str], most_steps: int) -> dict[str, tuple[float, str]]:
        """job -> (seconds from now until it starts, where), for those that start within so many steps."""
        starts: dict[str, tuple[float, str]] = {}
        grants: Iterable[Grant] | None = self._copy.tick(self._now)
        for _ in range(most_steps):
            for grant in grants or ():
                self._began(grant)
                if grant.job_id in wanted:
                    starts[grant.job_id] = (self._now - self._begun_at, grant.backend)
            if len(starts) == len(wanted) or grants is None:
                break
            grants = self._next()
        return starts

    def _began(self, grant: Grant) -> None:
        remaining_s = self._copy.state.pool.remaining_s(grant.backend, self._now)
        heapq.heappush(self._ends, (self._now + remaining_s, grant.backend))

    def _next(self) -> Iterable[Grant] | None:
        """Advance to whatever comes first; None when nothing ever will."""
        end = self._ends[0][0] if self._ends else None
        arrival = self._expected[-1].arrived_at if self._expected else None
        moments = [m for m in (end, arrival, self._copy.wake_at(self._now)) if m is not None]
        if not moments:
            return None
        self._now = max(self._now, min(moments))
        if end is not None and end <= self._now:
            _, backend = heapq.heappop(self._ends)
            return self._finish(backend)
        if arrival is not None and arrival <= self._now:
            return self._copy.arrived([self._expected.pop()], self._now)
        return self._copy.tick(self._now)

    def _finish(self, backend: str) -> Iterable[Grant]:
        running = self._copy.backends[backend].running
        elapsed_s = self._now - running.started_at if running is not None else 0.0
        return self._copy.finished(backend, elapsed_s, self._now, Ending.STOPPED)  # charged, nothing learned


def _busy(scheduler: Scheduler) -> list[str]:
    return [name for name, view in scheduler.backends.items() if view.usable and view.running is not None]


def _expected(scheduler: Scheduler, now: float) -> list[Ticket]:
    """Jobs that will probably arrive within the horizon, evenly spaced for each checkpoint."""
    state = scheduler.state
    tickets: list[Ticket] = []
    for checkpoint, able in state.able.items():
        rate = state.asked_for.rate(checkpoint, now)
        typical = state.speeds.generation.typical(checkpoint)
        for k in range(int(rate * HORIZON_S)):
            number = len(tickets)
            tickets.append(
                Ticket(
                    job_id=f"{_EXPECTED}{number}",
                    tenant=f"{_EXPECTED}{number % _EXPECTED_TENANTS}",
                    checkpoint=checkpoint,
                    runnable_on=able,
                    arrived_at=now + (k + 0.5) / rate,
                    work=state.room.mean_cost_s * _SIZES[number % len(_SIZES)] / typical,
                )
            )
    return tickets

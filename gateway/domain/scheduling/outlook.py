"""What a waiting job may expect and why it waits: rehearsals of the near future, and one refusal per backend.

A rehearsal runs the rules themselves on a copy of the scheduler: running jobs end when their estimates say, waiting
jobs start as the rules have it. One has nobody else coming; it gives the positions. In the others, as many as the
budget of decisions allows, jobs keep coming as they came before, each from another moment of the past on. Of the waits
that a job has in them, the one is told that is never far wrong: the error relative to what is rehearsed counts by its
fourth power, but beyond all use no more than a useless one. That is near the middle of those that are near each other.

The scheduler itself is not changed. All of it costs as much as the decisions it rehearses, so it comes in steps of one
decision each, for a driver that has other things to do meanwhile.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar, cast

from gateway.domain.scheduling.scheduler import Ending, Scheduler
from gateway.domain.scheduling.values import BackendView, Estimate, Explanation, Grant, Refusal, Ticket

MOST_STEPS = 4000
"""Decisions rehearsed for one snapshot; what has not started by then is extrapolated."""
MOST_FUTURES = 16
HORIZON_S = 600.0
"""For how long further arrivals are expected."""
_FAIR_SHARE_OF_STEPS = 2.5
"""A future takes about so many decisions for each waiting job: newcomers take some, too."""
_USELESS = 0.6
"""A relative error of this and more is as bad as any."""
_TRIED = (0.7, 0.85, 1.0, 1.15, 1.3)
"""What may be told: each rehearsed wait, and some more around it."""

Steps = Generator[None, None, Mapping[str, Estimate]]
Result = TypeVar("Result")


def estimates(scheduler: Scheduler, now: float, most_steps: int = MOST_STEPS) -> Mapping[str, Estimate]:
    """Position and wait of every waiting job that is not a batch job, by job id."""
    return to_the_end(estimating(scheduler, now, most_steps))


def to_the_end(steps: Generator[None, None, Result]) -> Result:
    """What the steps come to, taken all at once."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Result, done.value)


def estimating(scheduler: Scheduler, now: float, most_steps: int = MOST_STEPS) -> Steps:
    """`estimates` in steps of about one decision. Of what happens to the scheduler after the first one, only what it
    learns of speeds is looked at.
    """
    base = scheduler.fork()
    yield
    waiting = [ticket for ticket in base.waiting if not ticket.is_batch]
    if not waiting:
        return {}
    room, past = base.state.room, base.state.past
    costs = {ticket.job_id: room.cost_s(ticket.job_id) for ticket in waiting}
    futures = max(1, min(MOST_FUTURES, int(most_steps / (_FAIR_SHARE_OF_STEPS * len(waiting))))) if len(past) else 0
    each = max(1, most_steps // (futures + 1))
    yield
    hopeful = yield from Rehearsal(base.fork(), iter(()), now).run(costs.keys(), each)
    rehearsed = [_waits(base, waiting, hopeful)]
    for number in range(futures):
        expected = past.again((number + 0.5) / futures, now, HORIZON_S)
        rehearsal = Rehearsal(base.fork(), expected, now)
        yield
        starts = yield from rehearsal.run(costs.keys(), each)
        yield
        rehearsed.append(_waits(base, waiting, starts))
    begins = sorted((wait_s, backend) for wait_s, backend in hopeful.values())
    found = {}
    for ticket in waiting:
        yield
        waits = [waits_s[ticket.job_id] for waits_s in rehearsed]
        position = 1 + _ahead(begins, waits[0], ticket.runnable_on)
        found[ticket.job_id] = Estimate(position, least_wrong(waits[1:] or waits))
    return found


def least_wrong(waits: Sequence[float]) -> float:
    """The wait that, told where each of these may come true, errs least; seconds."""
    return min(sorted({wait * times for wait in waits for times in _TRIED}), key=lambda told: _wrong(told, waits))


def _wrong(told: float, waits: Sequence[float]) -> float:
    return sum(min(_USELESS, abs(told - wait) / max(1.0, wait)) ** 4 for wait in waits)


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


class Rehearsal:
    """Plays one future on a scheduler of its own."""

    def __init__(self, scheduler: Scheduler, expected: Iterator[Ticket], now: float) -> None:
        self._copy = scheduler
        self._begun_at = self._now = now
        self._expected, self._next_arrival = expected, next(expected, None)
        self._ends = [(now + scheduler.state.pool.remaining_s(n, now), n) for n in _busy(scheduler)]
        heapq.heapify(self._ends)

    def run(self, wanted: AbstractSet[str], most_steps: int) -> Generator[None, None, dict[str, tuple[float, str]]]:
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
            yield
            grants = self._next()
        return starts

    @property
    def elapsed_s(self) -> float:
        """Seconds rehearsed so far."""
        return self._now - self._begun_at

    def _began(self, grant: Grant) -> None:
        remaining_s = self._copy.state.pool.remaining_s(grant.backend, self._now)
        heapq.heappush(self._ends, (self._now + remaining_s, grant.backend))

    def _next(self) -> Iterable[Grant] | None:
        """Advance to whatever comes first; None when nothing ever will."""
        end = self._ends[0][0] if self._ends else None
        arrival = self._next_arrival.arrived_at if self._next_arrival else None
        moments = [m for m in (end, arrival, self._copy.wake_at(self._now)) if m is not None]
        if not moments:
            return None
        self._now = max(self._now, min(moments))
        if end is not None and end <= self._now:
            _, backend = heapq.heappop(self._ends)
            return self._finish(backend)
        if self._next_arrival is not None and self._next_arrival.arrived_at <= self._now:
            arrived, self._next_arrival = self._next_arrival, next(self._expected, None)
            return self._copy.arrived([arrived], self._now)
        return self._copy.tick(self._now)

    def _finish(self, backend: str) -> Iterable[Grant]:
        running = self._copy.backends[backend].running
        elapsed_s = self._now - running.started_at if running is not None else 0.0
        return self._copy.finished(backend, elapsed_s, self._now, Ending.STOPPED)  # charged, nothing learned


def _busy(scheduler: Scheduler) -> list[str]:
    return [name for name, view in scheduler.backends.items() if view.usable and view.running is not None]

"""What is told of the queue to everybody it concerns: of each waiting job, of each tenant, of each checkpoint.

Estimates of single jobs come from `outlook`; a call that has not come yet is estimated by rehearsing one like it, of a
tenant that has nothing else here. All of it comes in steps, as `outlook` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from gateway.domain.scheduling.outlook import Rehearsal, estimating, explain
from gateway.domain.scheduling.scheduler import Scheduler
from gateway.domain.scheduling.values import Explanation, Refusal, Ticket

MOST_MODELS = 24
"""For so many checkpoints, those asked for last, a further call is rehearsed."""
MOST_STEPS_OF_A_CALL = 300
"""A further call that has not started after so many decisions waits at least as long as they took."""
_CALL = "a further call"


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is known of one waiting job: `position` from 1 among those it competes with, when it should start in seconds
    of the caller's clock, and why it waits.
    """

    position: int
    starts_at: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outlook at one moment: jobs by id; when the first waiting job of each tenant should start; and by checkpoint
    the seconds that one more call of a tenant with nothing else here would wait.

    `other_s`: the same for any checkpoint that is loaded nowhere and was not asked for lately; None while a backend is
    down, as it may be the only one that has it.
    """

    jobs: Mapping[str, Prospect]
    tenants: Mapping[str, float]
    models: Mapping[str, float]
    other_s: float | None = None


def forecasting(scheduler: Scheduler, now: float) -> Generator[None, None, Forecast]:
    """The forecast in steps of about one decision; the scheduler is looked at during the first one only."""
    base = scheduler.fork()
    yield
    waits = yield from estimating(base, now)
    jobs: dict[str, Prospect] = {}
    tenants: dict[str, float] = {}
    for job_id, told in waits.items():
        yield
        ticket, found = base.state.room.ticket(job_id), explain(base, job_id, now)
        if ticket is not None and found is not None:
            starts_at = now + told.wait_s
            jobs[job_id] = Prospect(told.position, starts_at, reason(found))
            tenants[ticket.tenant] = min(starts_at, tenants.get(ticket.tenant, starts_at))
    models: dict[str, float] = {}
    for like in base.state.past.latest_of_each(MOST_MODELS):
        if any(_is_up(base, name) for name in like.runnable_on):
            models[like.checkpoint] = yield from _call_s(base, like, now)
    other_s = None
    if base.backends and all(_is_up(base, name) for name in base.backends):
        other_s = yield from _call_s(base, Ticket(_CALL, _CALL, _CALL, frozenset(base.backends), now), now)
    return Forecast(jobs, tenants, models, other_s)


def _is_up(base: Scheduler, backend: str) -> bool:
    return backend in base.backends and base.backends[backend].usable


def _call_s(base: Scheduler, like: Ticket, now: float) -> Generator[None, None, float]:
    """Seconds until one more call like that one would start. Also on an idle pool, where a swap may be put off."""
    call = replace(like, job_id=_CALL, tenant=_CALL, arrived_at=now, tenant_weight=1.0)
    rehearsal = Rehearsal(base.fork(), iter((call,)), now)
    yield
    starts = yield from rehearsal.run({_CALL}, MOST_STEPS_OF_A_CALL)
    return starts[_CALL][0] if _CALL in starts else rehearsal.elapsed_s


def reason(explanation: Explanation) -> str:
    """Why a job waits, in words for its operator: how many backends for each reason, those that matter most first."""
    counts: Counter[Refusal] = Counter(refusal for _, refusal in explanation.refusals if refusal is not Refusal.UNABLE)
    parts = [f"{counts[refusal]} {refusal}" for refusal in Refusal if counts[refusal]]
    overdue = "beyond its age bound; " if explanation.is_overdue else ""
    return overdue + ("; ".join(parts) or "no backend of the pool has all it requires")

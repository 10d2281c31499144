"""The clock of the pool simulator: tells a policy what arrived and which GPUs are free, carries out what it decides.

A job takes `work x seconds_per_megapixel_step` on its GPU, plus the GPU's `swap_s` when another checkpoint was loaded.
All that happens at one instant is told to the policy at once, freed GPUs before arrivals.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.simulator.pool.work import Done, Freed, Gpu, Job, Load, Outcome, Start


class PolicyFault(RuntimeError):
    """A policy did what no dispatcher may do: a busy GPU, a GPU without the model, a job twice, or a job never run."""


class Policy(Protocol):
    """Decides which job runs where. It sees the pool's names and models, and learns the rest from what it is told."""

    name: str
    swaps_are_free: bool

    def happened(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> Sequence[Start | Load]:
        """What to start now; both sequences are empty when the time asked for by `wake_at` has come."""
        ...

    def wake_at(self, now: float) -> float | None:
        """When to ask again although nothing will have happened; None for never."""
        ...


@dataclass(slots=True)
class _Slot:
    gpu: Gpu
    loaded: str = ""
    busy: bool = False


def simulate(
    gpus: Sequence[Gpu], jobs: Sequence[Job], policy: Policy, on_progress: Callable[[int], None] | None = None
) -> Outcome:
    """Every job run once by `policy`; `on_progress` hears how many jobs are done, now and then. Raises PolicyFault."""
    held = frozenset().union(*(gpu.models for gpu in gpus))
    runnable = [job for job in jobs if job.model in held]
    run = _Run(gpus, runnable, policy)
    reported = 0
    while run.step():
        if on_progress is not None and len(run.done) - reported >= 200:  # noqa: PLR2004 - about 20 a second on one core
            reported = len(run.done)
            on_progress(reported)
    if len(run.done) != len(runnable):
        raise PolicyFault(f"{policy.name} left {len(runnable) - len(run.done)} jobs unserved")
    refused = [job for job in jobs if job.model not in held]
    return Outcome(policy.name, gpus, run.done, refused, run.swaps, run.loads)


class _Run:
    def __init__(self, gpus: Sequence[Gpu], jobs: Sequence[Job], policy: Policy) -> None:
        self.done: list[Done] = []
        self.loads: list[tuple[int, float, float, str]] = []
        self.swaps = 0
        self._slots = [_Slot(gpu) for gpu in gpus]
        self._jobs, self._next = jobs, 0
        self._ends: list[tuple[float, int, Freed]] = []
        self._policy = policy
        self._started: set[str] = set()
        self._now = 0.0

    def step(self) -> bool:
        """Advance to the next instant at which something happens; False at the end of everything."""
        arrival = self._jobs[self._next].arrived_at if self._next < len(self._jobs) else None
        end = self._ends[0][0] if self._ends else None
        wake = self._policy.wake_at(self._now)
        moments = [moment for moment in (arrival, end, wake) if moment is not None]
        if not moments or (arrival is None and end is None and len(self._started) == len(self._jobs)):
            return False
        self._now = max(self._now, min(moments))
        freed, arrived = self._freed(), self._arrived()
        for effect in self._policy.happened(freed, arrived, self._now):
            self._carry_out(effect)
        return True

    def _freed(self) -> list[Freed]:
        freed: list[Freed] = []
        while self._ends and self._ends[0][0] <= self._now:
            event = heapq.heappop(self._ends)[2]
            self._slots[event.gpu].busy = False
            freed.append(event)
        return freed

    def _arrived(self) -> list[Job]:
        first = self._next
        while self._next < len(self._jobs) and self._jobs[self._next].arrived_at <= self._now:
            self._next += 1
        return list(self._jobs[first : self._next])

    def _carry_out(self, effect: Start | Load) -> None:
        slot = self._slots[effect.gpu]
        job = effect.job if isinstance(effect, Start) else None
        model = job.model if job is not None else effect.model  # type: ignore[union-attr]
        self._check(slot, job, model)
        swap_s = 0.0
        if slot.loaded != model:
            swap_s = 0.0 if self._policy.swaps_are_free else slot.gpu.swap_s
            self.swaps += 1
            self.loads.append((effect.gpu, self._now, swap_s, model))
        run_s = job.work * slot.gpu.seconds_per_megapixel_step if job is not None else 0.0
        slot.loaded, slot.busy = model, True
        event = Freed(effect.gpu, job, model, swap_s, run_s)
        heapq.heappush(self._ends, (self._now + swap_s + run_s, effect.gpu, event))
        if job is not None:
            self._started.add(job.job_id)
            self.done.append(Done(job, effect.gpu, self._now, swap_s, run_s))

    def _check(self, slot: _Slot, job: Job | None, model: str) -> None:
        if slot.busy:
            raise PolicyFault(f"{self._policy.name} used {slot.gpu.name} while it was busy")
        if model not in slot.gpu.models:
            raise PolicyFault(f"{self._policy.name} sent {model} to {slot.gpu.name}, which does not have it")
        if job is not None and job.job_id in self._started:
            raise PolicyFault(f"{self._policy.name} started job {job.job_id} twice")

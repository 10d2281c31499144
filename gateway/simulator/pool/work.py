"""What is simulated: GPUs, jobs and what became of each job. All times are virtual seconds from the trace's start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Gpu:
    """One simulated backend; it runs one job at a time and starts with no checkpoint loaded."""

    name: str
    seconds_per_megapixel_step: float
    swap_s: float
    models: frozenset[str]


@dataclass(frozen=True, slots=True)
class Job:
    """One generation of a trace; `work` is in megapixel-steps (steps x megapixels x images)."""

    job_id: str
    arrived_at: float
    tenant: str
    model: str
    work: float


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the operator's plan would say of a tenant; a trace knows nothing of it."""

    weight: float = 1.0
    cap: int = 1_000_000
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """A policy's effect: this job begins now on that GPU (by index in the pool); the engine adds the swap it needs."""

    job: Job
    gpu: int


@dataclass(frozen=True, slots=True)
class Load:
    """A policy's effect: that GPU loads a checkpoint without a job; it is busy until `Freed` says otherwise."""

    model: str
    gpu: int


@dataclass(frozen=True, slots=True)
class Freed:
    """An event: a GPU ended what it did. `job` is None after a `Load`; `swap_s` is 0.0 when nothing was swapped."""

    gpu: int
    job: Job | None
    model: str
    swap_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """One finished job: when it began (its swap included), how long the swap and the generation took, and where."""

    job: Job
    gpu: int
    started_at: float
    swap_s: float
    run_s: float

    @property
    def wait_s(self) -> float:
        """Arrival to the moment a GPU was given."""
        return self.started_at - self.job.arrived_at

    @property
    def latency_s(self) -> float:
        """Arrival to answer: wait, swap and generation."""
        return self.wait_s + self.swap_s + self.run_s

    @property
    def ended_at(self) -> float:
        """When the answer was there."""
        return self.started_at + self.swap_s + self.run_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that happened in one run. `refused` are jobs that no GPU of the pool can run; `swaps` counts every load."""

    policy: str
    gpus: Sequence[Gpu]
    done: Sequence[Done]
    refused: Sequence[Job]
    swaps: int
    loads: Sequence[tuple[int, float, float, str]] = field(default_factory=tuple)

    @property
    def makespan_s(self) -> float:
        """When the last answer was there, from the trace's start; 0.0 when nothing ran."""
        return max((d.ended_at for d in self.done), default=0.0)

"""The words of placement: what waits, what a backend looks like, what is decided, and the numbers of the policy.

Times are seconds on any steady scale; the caller's clock never enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_AGE_BOUND_S = 900.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting job. `runnable_on`: names of the backends that have all it requires, up or down.

    `work` is in megapixel-steps (steps x megapixels x images). An upscale has `checkpoint` "" (any will do), an
    `upscaler` and its `output_megapixels`. `tenant_cap` is how many jobs the tenant may run at once, `tenant_weight`
    its share against others', `age_bound_s` the age from which its jobs go before younger ones. A batch job runs only
    on backends that are idle and have its checkpoint loaded.
    """

    job_id: str
    tenant: str
    checkpoint: str
    runnable_on: frozenset[str]
    arrived_at: float
    work: float = 0.0
    tenant_cap: int = 1_000_000
    tenant_weight: float = 1.0
    age_bound_s: float = DEFAULT_AGE_BOUND_S
    is_batch: bool = False
    upscaler: str = ""
    output_megapixels: float = 0.0

    def started(self, at: float) -> Running:
        """The job as it runs since then."""
        return Running(
            job_id=self.job_id,
            tenant=self.tenant,
            checkpoint=self.checkpoint,
            started_at=at,
            work=self.work,
            tenant_weight=self.tenant_weight,
            is_batch=self.is_batch,
            upscaler=self.upscaler,
            output_megapixels=self.output_megapixels,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """The job that holds a backend's slot. `job_id` is "" for the gateway's own upkeep of that backend.

    `charged_s`: GPU-seconds already put on the tenant's account for it (0.0 for a job granted without the scheduler).
    `swaps` says that it began with loading its checkpoint.
    """

    job_id: str
    tenant: str
    checkpoint: str
    started_at: float
    work: float = 0.0
    tenant_weight: float = 1.0
    is_batch: bool = False
    upscaler: str = ""
    output_megapixels: float = 0.0
    swaps: bool = False
    charged_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend as the scheduler sees it: `usable` says it is up and not draining; free iff usable and not running.

    `loaded` is the checkpoint it has, or is loading for the job it runs; "" when none or unknown.
    """

    name: str
    loaded: str
    usable: bool
    running: Running | None = None

    @property
    def is_free(self) -> bool:
        """Whether a job may start here now."""
        return self.usable and self.running is None


class Rule(StrEnum):
    """Why a job was granted, by the number of the rule in the scheduler's docstring."""

    LOADED = "loaded"
    OVERDUE = "overdue"
    FAIR_SHARE = "fair-share"
    SWAP = "swap"
    COPY = "copy"
    OUTWEIGHS = "outweighs"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Grant:
    """The effect: this waiting job starts on that backend, now. `swaps`: its checkpoint is loaded first."""

    job_id: str
    backend: str
    swaps: bool = False
    rule: Rule = Rule.LOADED


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of the policy; what each gives was measured, see docs/benchmarks.md."""

    head_start_s: float = 20.0
    """Seconds of age a waiting job has from the start when the want for its checkpoint is summed up."""
    ageing_s: float = 300.0
    """Short before long: a job of r seconds and age a ranks by r / (ageing_s + a)."""
    copy_backlog_swaps: float = 4.0
    """A further copy of a checkpoint is loaded when the backlog per copy exceeds so many swaps."""
    copy_exponent: float = 1.5
    """The want for a checkpoint on c backends counts as want / (c + 1) ** copy_exponent."""
    outweigh: float = 3.0
    """A checkpoint with work left is evicted for one that is wanted so many times more."""
    residence_swaps: float = 14.0
    """... but not before it has stayed for so many swap times, so that overload cannot become swapping."""
    regret_swaps: float = 50.0
    """Evicting a checkpoint that is asked for r times a second costs regret_swaps x its swap time x r of want."""
    alone_s: float = 0.9
    """... but while nothing else waits a swap is put off for so long at most, or until a job for the evicted checkpoint
    was likely to come: with the second until the next look (`TICK_S`) a call waits less than two on an idle pool."""
    demand_memory_s: float = 600.0
    """How far back the demand for a checkpoint is remembered."""
    slack_s: float = 75.0
    """GPU-seconds by which a tenant may be above its share and still be served by locality."""
    backlog_weight: float = 0.4
    """Flooding counts like being ahead: GPU-seconds waiting, times this. The more, the less others notice of a flood,
    and the longer is the flooding tenant's own tail; docs/benchmarks.md has the table."""
    flood_times: float = 3.0
    """A tenant floods when it has more waiting than the slack and than so many times the average of all who wait."""
    flood_ageing_s: float = 20.0
    """`ageing_s` among a flood's own jobs: nearly the oldest first, so that its long ones do not wait for its last."""
    tight_jobs: float = 1.5
    """The same slack, in average jobs, against a tenant that has more waiting than the slack."""
    behind_swaps: float = 0.6
    """A tenant behind by so many swaps and a job, for each other tenant, gets a swap whatever locality says."""
    debt_s: float = 100.0
    """GPU-seconds above its share beyond which nothing more is held against a tenant."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a waiting job may expect: `position` from 1 among the jobs it competes with, `wait_s` until it starts."""

    position: int
    wait_s: float


class Refusal(StrEnum):
    """Why a waiting job is not on a backend now."""

    UNABLE = "lacks something the job requires"
    DOWN = "down, draining or recovering"
    BUSY = "runs another job"
    UPKEEP = "under the gateway's own upkeep"
    CAP = "free, but the tenant runs as many jobs as it may"
    SWAP_NOT_WORTH = "free, but has another checkpoint and a swap is not worth it yet"
    IDLE_ONLY = "free, but a batch job only runs where its checkpoint is loaded and nobody else waits"
    SLOWER = "free, but a faster backend that has the checkpoint will be done sooner"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job waits: one refusal per backend of the pool, by name.

    `loaded_on`: the able backends that have its checkpoint. `above_share_s`: GPU-seconds its tenant has had more than
    its share (below 0: less).
    """

    job_id: str
    refusals: tuple[tuple[str, Refusal], ...]
    loaded_on: tuple[str, ...]
    waited_s: float
    is_overdue: bool
    above_share_s: float

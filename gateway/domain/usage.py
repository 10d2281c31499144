"""The ledger: exactly one record per admitted job, and the quota windows that are fed from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.jobs import Operation, Outcome


class Window(StrEnum):
    """A quota's period; both begin at midnight UTC."""

    DAY = "day"
    MONTH = "month"


class Measure(StrEnum):
    """What a quota counts."""

    IMAGES = "images"
    GPU_SECONDS = "gpu_seconds"


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one admitted job. Times in seconds since the epoch, 0.0 where it never came to that.

    `images` and `gpu_seconds` are what counts (api: delivered images, generation time without swaps); `swap_s` is
    measured
    where a checkpoint was loaded; `megapixel_steps` is the price that was asked. `why` is the placement's reason.
    """

    job_id: str
    tenant_id: str
    key_id: str
    operation: Operation
    outcome: Outcome
    model: str = ""
    backend: str = ""
    entered_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    swap_s: float = 0.0
    generation_s: float = 0.0
    gpu_seconds: float = 0.0
    images: int = 0
    megapixel_steps: float = 0.0
    steps: int = 0
    width: int = 0
    height: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    attempts: int = 0
    adjustments: str = ""
    why: str = ""
    reason: str = ""

    @property
    def queue_s(self) -> float:
        """Seconds from admission to the start of work, or to the end where work never began."""
        return max(0.0, (self.started_at or self.ended_at) - self.entered_at)

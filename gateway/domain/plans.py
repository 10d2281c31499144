"""What a tenant may use and how much of it. Defaults are those of a new tenant on the pool's standard plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper bounds on one call; pixels are width x height of one picture, factors are per side."""

    body_bytes: int = 32_000_000
    generated_pixels: int = 4_200_000
    upscaled_pixels: int = 34_000_000
    input_pixels: int = 34_000_000
    steps: int = 150
    images_per_call: int = 8
    resize_factor: float = 8.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits and weight of a tenant. A quota of None is no quota; days and months are UTC.

    `max_queued` = 0 refuses at once what cannot start; `weight` is the tenant's share against others (1.0 is normal).
    `keep_alive_s`: a call of which nothing is known after that time is answered with blanks until it is; 0: never.
    """

    name: str = "standard"
    requests_per_minute: float = 60.0
    burst: int = 20
    max_concurrency: int = 2
    max_queued: int = 16
    max_wait_s: float = 90.0
    keep_alive_s: float = 0.0
    weight: float = 1.0
    images_per_day: int | None = None
    images_per_month: int | None = None
    gpu_seconds_per_day: float | None = None
    gpu_seconds_per_month: float | None = None
    caps: Caps = Caps()

    @property
    def max_outstanding(self) -> int:
        """How many jobs may wait and run at once."""
        return self.max_concurrency + self.max_queued

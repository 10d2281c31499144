"""Who has had how much: one account per tenant, in GPU-seconds divided by its weight, beside a level they all share.

The level is what each active tenant would have if all service since had been shared out by weight; it rises by
`gpu_s / sum of active weights` whenever anyone is served. A tenant above the level has had more than its share, one
below less. Whoever comes back from idleness starts at the level, or at its own account if that is higher, so that
idleness cannot be saved up; and nobody's account rises further above the level than `debt_s`, so that capacity nobody
else wanted is not held against whoever used it (after VTC, OSDI'24, and DLPM, arXiv 2501.14312; decision 0010 says why
the level is the mean and not the smallest account). Mutable, owned by one scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping


class Accounts:
    """The accounts, the level, and which tenants are active (have waiting or running jobs)."""

    def __init__(self, debt_s: float, memory: Mapping[str, float] | None = None) -> None:
        """`memory` is what `dump` gave: tenant -> GPU-seconds / weight above the level."""
        self._debt_s = debt_s
        self._served: dict[str, float] = dict(memory or {})
        self._jobs: dict[str, int] = {}
        self._weights: dict[str, float] = {}
        self._weight_sum = 0.0
        self._level = 0.0

    def copy(self) -> Accounts:
        """The same accounts, to change on their own."""
        accounts = Accounts(self._debt_s, self._served)
        accounts._jobs, accounts._weights = dict(self._jobs), dict(self._weights)
        accounts._weight_sum, accounts._level = self._weight_sum, self._level
        return accounts

    def entered(self, tenant: str, weight: float) -> None:
        """One more waiting or running job; the first one makes the tenant active."""
        jobs = self._jobs.get(tenant, 0)
        if jobs == 0:
            self._served[tenant] = max(self._served.get(tenant, self._level), self._level)
        self._jobs[tenant] = jobs + 1
        self._weights[tenant] = weight
        self._weight_sum = sum(self._weights.values()) if jobs == 0 else self._weight_sum

    def ended(self, tenant: str) -> None:
        """One job less; after the last one the tenant is idle."""
        jobs = self._jobs.get(tenant, 0)
        if jobs > 1:
            self._jobs[tenant] = jobs - 1
        elif jobs == 1:
            del self._jobs[tenant]
            del self._weights[tenant]
            self._weight_sum = sum(self._weights.values())
            if self._served[tenant] <= self._level:
                del self._served[tenant]

    def charge(self, tenant: str, gpu_s: float, weight: float) -> None:
        """Put GPU-seconds on the account; negative ones correct an estimate that was too high."""
        served = self._served.get(tenant, self._level) + gpu_s / weight
        self._level += gpu_s / (self._weight_sum or weight)
        self._served[tenant] = min(served, self._level + self._debt_s / weight)

    @property
    def active(self) -> int:
        """How many tenants have waiting or running jobs."""
        return len(self._jobs)

    def above_level(self, tenant: str) -> float:
        """GPU-seconds / weight had more than its share, below 0 for less."""
        return self._served.get(tenant, self._level) - self._level

    def weight(self, tenant: str) -> float:
        """The weight the tenant's latest job came with; 1.0 when idle."""
        return self._weights.get(tenant, 1.0)

    def dump(self) -> dict[str, float]:
        """tenant -> GPU-seconds / weight above the level; those at the level or idle below it are left out."""
        return {t: s - self._level for t, s in self._served.items() if s > self._level or t in self._jobs}

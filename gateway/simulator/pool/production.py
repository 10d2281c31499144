"""The production scheduler as a policy of the simulator: the same object, fed as the dispatcher feeds it.

It is told names, models and measured times, never the pool file's speeds: those it has to learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.scheduling import BackendView, Policy, Scheduler
from gateway.domain.scheduling import Ticket as Waiting
from gateway.simulator.pool.work import Freed, Gpu, Job, Load, Start, Tenant


class Gateway:
    """Drives one `Scheduler`; `scheduler` is open to whoever wants to look or to ask for estimates."""

    name = "gateway"
    swaps_are_free = False

    def __init__(
        self, gpus: Sequence[Gpu], tenants: Mapping[str, Tenant] | None = None, policy: Policy | None = None
    ) -> None:
        self.scheduler = Scheduler(policy)
        self._gpus, self._tenants = gpus, dict(tenants or {})
        self._index = {gpu.name: i for i, gpu in enumerate(gpus)}
        self._jobs: dict[str, Job] = {}
        self._able: dict[str, frozenset[str]] = {}
        self.scheduler.backend_changed([BackendView(gpu.name, "", usable=True) for gpu in gpus], 0.0)

    def happened(self, freed: Sequence[Freed], arrived: Sequence[Job], now: float) -> Sequence[Start | Load]:
        """Tell the scheduler, carry its grants out."""
        self._jobs.update({job.job_id: job for job in arrived})
        with self.scheduler.gathering():
            for event in freed:
                self.scheduler.finished(self._gpus[event.gpu].name, event.swap_s + event.run_s, now)
            self.scheduler.arrived([self._ticket(job) for job in arrived], now)
        grants = self.scheduler.tick(now)
        return [Start(self._jobs.pop(grant.job_id), self._index[grant.backend]) for grant in grants]

    def wake_at(self, now: float) -> float | None:
        """When the scheduler wants to look again."""
        return self.scheduler.wake_at(now)

    def _ticket(self, job: Job) -> Waiting:
        able = self._able.get(job.model)
        if able is None:
            able = self._able[job.model] = frozenset(gpu.name for gpu in self._gpus if job.model in gpu.models)
        tenant = self._tenants.get(job.tenant, Tenant())
        return Waiting(
            job_id=job.job_id,
            tenant=job.tenant,
            checkpoint=job.model,
            runnable_on=able,
            arrived_at=job.arrived_at,
            work=job.work,
            tenant_cap=tenant.cap,
            tenant_weight=tenant.weight,
            is_batch=tenant.is_batch,
        )

"""Which waiting job gets which backend: the pure scheduler behind the dispatcher and the pool simulator.

Events go in (`arrived`, `left`, `finished`, `backend_changed`, `used`, `tick`), effects come out (`Grant`). It knows no
clock and no I/O: every event carries `now`, in seconds on any steady scale. Whoever drives it applies each effect
before the next event. All it must remember over a restart is in `dump`.

The rules:

(1) A backend takes a job only while it is free, and only a job it can run.
(2) A tenant never runs more jobs at once than its cap.
(3) Fairness. Each tenant has an account in GPU-seconds / weight, charged by estimate at the grant and corrected by the
    measured time, beside a level that rises by everyone's fair part (`accounts`). Tenants in credit (at most `slack_s`
    above the level) go before others on every backend, and among them those with little waiting before those with
    much. What a tenant wants counts the less the further it is above the level and the more it has waiting. A tenant
    behind another by about a job and half a swap for each other tenant, with that much waiting, gets a swap even if
    locality says no. Who has more waiting than the slack and than several times the average floods.
(4) Locality. Of the jobs that need no swap and whose tenants are in credit, short ones go before long ones, each the
    earlier the older it is; within a flood nearly the oldest first.
(5) Swaps. A checkpoint is wanted by the summed ages of its waiting jobs. A backend with nothing to do without a swap
    loads the most wanted checkpoint that is loaded nowhere, or one whose backlog per copy exceeds several swaps (no
    more loads of one checkpoint at once than copies stand already, one for the first). It goes where the evicted
    checkpoint is least asked for, and only if it is wanted more than that costs. A checkpoint with work left is evicted
    only after a residence of several swaps (the shorter the less those who wait for it are in credit), for one wanted
    several times more. Where only floods' jobs would be left behind, both are divided by the copies that share them.
(6) Age. A job older than its bound, of a tenant in credit, goes before younger ones where its checkpoint is loaded, is
    loaded for on the next idle backend, and after the residence of (5) evicts a checkpoint that still has work.
    Residence is what keeps overload from becoming one swap per job.
(7) A slower backend leaves a job to faster ones that have its checkpoint when they will be done sooner.
(8) Batch jobs run only on backends that no other rule uses and that have their checkpoint loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from typing import Any

from gateway.domain.scheduling.accounts import Accounts
from gateway.domain.scheduling.choice import Decision, State
from gateway.domain.scheduling.demand import AskedFor
from gateway.domain.scheduling.past import Past
from gateway.domain.scheduling.pool import Pool
from gateway.domain.scheduling.values import BackendView, Grant, Policy, Running, Ticket
from gateway.domain.scheduling.waiting import WaitingRoom
from gateway.domain.speeds import Speeds

_DRIFT = 1.25
"""How far a learned speed may move before the jobs that wait are costed anew with it."""

TICK_S = 1.0
"""How often to call `tick` while a backend is free and jobs wait: a swap not yet worth it becomes so with age."""


class Ending(StrEnum):
    """How a job on a backend ended."""

    DONE = "done"
    """All of it ran: the time is charged and learned."""
    STOPPED = "stopped"
    """Interrupted by its caller: the time is charged, nothing is learned."""
    FAILED = "failed"
    """The backend's fault: nothing is charged, nothing is learned."""


class Scheduler:
    """Holds the queue and the pool's view; each event returns the grants that follow from it."""

    def __init__(self, policy: Policy | None = None, memory: Mapping[str, Any] | None = None) -> None:
        """`memory` is what `dump` of an earlier scheduler gave; waiting jobs and backends come by events."""
        policy, memory = policy or Policy(), memory or {}
        self.speeds = Speeds.load(tuple(row) for row in memory.get("speeds", ()))
        asked_for = {name: (seen[0], seen[1]) for name, seen in memory.get("asked_for", {}).items()}
        self._state = State(
            room=WaitingRoom(),
            pool=Pool(self.speeds),
            accounts=Accounts(policy.debt_s, memory.get("accounts")),
            batch_accounts=Accounts(policy.debt_s, memory.get("batch_accounts")),
            speeds=self.speeds,
            asked_for=AskedFor(policy.demand_memory_s, asked_for),
            past=Past(),
            policy=policy,
        )
        self._costed_at: dict[str, float] = {}
        self._is_gathering = False

    def dump(self) -> dict[str, Any]:
        """Accounts, learned speeds and demand as plain data (JSON-able), for another process's scheduler."""
        return {
            "accounts": self._state.accounts.dump(),
            "batch_accounts": self._state.batch_accounts.dump(),
            "asked_for": {name: list(seen) for name, seen in self._state.asked_for.dump().items()},
            "speeds": [list(row) for row in self.speeds.dump()],
        }

    @property
    def state(self) -> State:
        """What decisions look at; for reading, by this package."""
        return self._state

    def fork(self) -> Scheduler:
        """A copy to rehearse on; it shares what was learned, so it must not be told of jobs that are done."""
        state = self._state
        copy = Scheduler(state.policy)
        copy.speeds = self.speeds
        copy._costed_at = dict(self._costed_at)
        copy._state = replace(
            state,
            room=state.room.copy(),
            pool=state.pool.copy(),
            accounts=state.accounts.copy(),
            batch_accounts=state.batch_accounts.copy(),
            asked_for=state.asked_for.copy(),
            past=state.past.copy(),
        )
        return copy

    @property
    def waiting(self) -> tuple[Ticket, ...]:
        """The waiting jobs, oldest first."""
        return tuple(sorted(self._state.room, key=lambda t: (t.arrived_at, t.job_id)))

    @property
    def has_waiting(self) -> bool:
        """Whether any job waits."""
        return len(self._state.room) > 0

    @property
    def backends(self) -> Mapping[str, BackendView]:
        """The pool as it is known, by name."""
        return self._state.pool.views

    def account_s(self, tenant: str) -> float:
        """GPU-seconds / weight the tenant has had above its share, below 0 for less."""
        return self._state.accounts.above_level(tenant)

    # --- events -------------------------------------------------------------------------------------

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Events within the block grant nothing; `tick` after it decides on all that happened at once."""
        self._is_gathering = True
        try:
            yield
        finally:
            self._is_gathering = False

    def arrived(self, tickets: Iterable[Ticket], now: float) -> list[Grant]:
        """New waiting jobs; one already known is replaced, a grant of it that was not carried out is taken back."""
        for ticket in tickets:
            self._withdraw(ticket.job_id)
            self._take_back(ticket.job_id, now)
            self._accounts(is_batch=ticket.is_batch).entered(ticket.tenant, ticket.tenant_weight)
            self._state.room.add(ticket, self._typical_s(ticket))
            self._came(ticket, now)
        return self.tick(now)

    def began(self, tickets: Iterable[Ticket], now: float) -> None:
        """Jobs that began at once, without this scheduler: they are demand. `backend_changed` says where they run."""
        for ticket in tickets:
            self._came(ticket, now)

    def left(self, job_ids: Iterable[str], now: float) -> list[Grant]:
        """Jobs that no longer wait (withdrawn, expired, or granted elsewhere); unknown ids are ignored."""
        for job_id in job_ids:
            self._withdraw(job_id)
        return self.tick(now)

    def finished(self, backend: str, elapsed_s: float, now: float, ending: Ending = Ending.DONE) -> list[Grant]:
        """The job on that backend ended after `elapsed_s`, its swap included; the backend is free again if usable."""
        view = self._state.pool.views.get(backend)
        if view is not None and view.running is not None:
            if view.running.job_id:
                self._settle(backend, view.running, elapsed_s, ending)
                self._cost_anew()
            self._put(replace(view, running=None), now)
        return self.tick(now)

    def backend_changed(self, backends: Iterable[BackendView], now: float) -> list[Grant]:
        """Backends as they are now: a job began there without us, a checkpoint was loaded, it went up or down."""
        for view in backends:
            self._put(view, now)
        return self.tick(now)

    def backend_removed(self, names: Iterable[str]) -> None:
        """Backends that are no longer part of the pool."""
        for name in names:
            view = self._state.pool.remove(name)
            if view is not None and view.running is not None and view.running.job_id:
                self._accounts(is_batch=view.running.is_batch).ended(view.running.tenant)

    def used(self, tenant: str, gpu_s: float, weight: float = 1.0) -> None:
        """The tenant used so many GPU-seconds in a job that began and ended unseen by this scheduler."""
        accounts = self._state.accounts
        accounts.entered(tenant, weight)  # for it was active then: its share of the level's rise is its own
        accounts.charge(tenant, gpu_s, weight)
        accounts.ended(tenant)

    def tick(self, now: float) -> list[Grant]:
        """All grants possible now; each is taken as carried out until an event says otherwise."""
        grants: list[Grant] = []
        while self._could_grant and (grant := Decision(self._state, now).grant()) is not None:
            grants.append(grant)
            self._carry_out(grant, now)
        return grants

    def wake_at(self, now: float) -> float | None:
        """When to call `tick` although nothing happened; None while only an event can change anything."""
        return now + TICK_S if self._could_grant else None

    # --- what changes -------------------------------------------------------------------------------

    @property
    def _could_grant(self) -> bool:
        return not self._is_gathering and self._state.pool.has_free and len(self._state.room) > 0

    def _came(self, ticket: Ticket, now: float) -> None:
        if not ticket.is_batch:
            self._state.past.add(ticket)
            if ticket.checkpoint:
                self._state.asked_for.asked(ticket.checkpoint, now)

    def _accounts(self, *, is_batch: bool) -> Accounts:
        return self._state.batch_accounts if is_batch else self._state.accounts

    def _typical_s(self, ticket: Ticket) -> float:
        if ticket.upscaler:
            return self.speeds.upscale.typical(ticket.upscaler) * ticket.output_megapixels
        typical_s = self.speeds.generation.typical(ticket.checkpoint)
        return self._costed_at.setdefault(ticket.checkpoint, typical_s) * ticket.work

    def _cost_anew(self) -> None:
        """Jobs that wait are costed again where what was learned has moved away from what they were costed with.

        Without this, equal jobs that came while a checkpoint was thought to be slow would wait behind all that come
        after it is known to be fast.
        """
        for checkpoint, _ in self._state.room.checkpoints():
            typical_s = self.speeds.generation.typical(checkpoint)
            before_s = self._costed_at.get(checkpoint, typical_s)
            if checkpoint and not before_s / _DRIFT < typical_s < before_s * _DRIFT:
                self._costed_at[checkpoint] = typical_s
                self._state.room.cost_anew(checkpoint, typical_s / before_s)

    def _withdraw(self, job_id: str) -> None:
        ticket = self._state.room.pop(job_id)
        if ticket is not None:
            self._accounts(is_batch=ticket.is_batch).ended(ticket.tenant)

    def _take_back(self, job_id: str, now: float) -> None:
        backend = self._state.pool.where(job_id)
        view = self._state.pool.views[backend] if backend is not None else None
        if view is not None and view.running is not None:
            self._settle(view.name, view.running, 0.0, Ending.FAILED)
            self._put(replace(view, running=None), now)

    def _put(self, view: BackendView, now: float) -> None:
        before = self._state.pool.put(view, now)
        old = before.running if before is not None else None
        new = view.running
        if old is not None and new is not None and old.job_id == new.job_id:
            return
        if new is not None and new.job_id:
            self._accounts(is_batch=new.is_batch).entered(new.tenant, new.tenant_weight)
        if old is not None and old.job_id:
            self._accounts(is_batch=old.is_batch).ended(old.tenant)

    def _carry_out(self, grant: Grant, now: float) -> None:
        ticket = self._state.room.pop(grant.job_id)
        if ticket is None:
            raise LookupError(f"granted {grant.job_id}, which does not wait")
        running = ticket.started(now)
        charged_s = self._state.pool.expected_s(grant.backend, running)
        running = replace(running, swaps=grant.swaps, charged_s=charged_s)
        self._accounts(is_batch=ticket.is_batch).charge(ticket.tenant, charged_s, ticket.tenant_weight)
        before = self._state.pool.views[grant.backend]
        loaded = ticket.checkpoint or before.loaded
        self._state.pool.put(replace(before, loaded=loaded, running=running), now)

    def _settle(self, backend: str, running: Running, elapsed_s: float, ending: Ending) -> None:
        speeds = self.speeds
        used_s = elapsed_s
        if running.swaps:
            used_s = max(0.0, elapsed_s - speeds.swap.rate(backend, running.checkpoint))
        if ending is Ending.DONE:
            if running.upscaler:
                speeds.finished_upscale(backend, running.upscaler, running.output_megapixels, used_s)
            elif running.swaps:
                speeds.finished_swap(backend, running.checkpoint, running.work, elapsed_s)
                used_s = max(0.0, elapsed_s - speeds.swap.rate(backend, running.checkpoint))
            else:
                speeds.finished_generation(backend, running.checkpoint, running.work, elapsed_s)
        if ending is Ending.FAILED:
            used_s = 0.0
        accounts = self._accounts(is_batch=running.is_batch)
        accounts.charge(running.tenant, used_s - running.charged_s, running.tenant_weight)

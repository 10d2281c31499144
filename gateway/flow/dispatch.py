"""The dispatcher: whichever process holds the lease drives the one Scheduler for the whole gateway.

All decisions are the Scheduler's; here its events are made from what the store says happened, and its effects are
carried
out by a script that checks the lease. Losing the lease, or a new store, throws the Scheduler away: the next one is
built
from one snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.domain.backends import BackendState
from gateway.domain.queue import BackendLine, decision
from gateway.domain.scheduling import BackendView, Running, Scheduler, Ticket
from gateway.flow.ids import new_id
from gateway.ports import PoolChanges, PoolStore, SlotView, WaitingJob

IDLE_S = 1.0
RECOVERING = "!"


class Dispatcher:
    """One process's part in dispatching: leading, or standing by once a second."""

    def __init__(self, pool: PoolStore) -> None:
        self._pool = pool
        self._scheduler: Scheduler | None = None
        self._tickets: dict[str, Ticket] = {}
        self._put_back: list[Ticket] = []
        self._changes: PoolChanges | None = None

    @property
    def is_leading(self) -> bool:
        """Whether this process held the lease when it last looked."""
        return self._scheduler is not None

    @property
    def pool(self) -> PoolChanges | None:
        """The pool as the leader last saw it, None while standing by."""
        return self._changes

    async def run(self) -> None:
        """Dispatch for ever. Cancelled, it leaves no decision half done; errors of the store end it, to be
        restarted.
        """
        try:
            while True:
                if not await self.step():
                    await self._pool.wait_for_work(IDLE_S)
        finally:
            self._stand_by()

    async def step(self) -> bool:
        """Read what happened and carry out what follows; True if something was granted, so that more may follow."""
        changes = await self._pool.poll(from_scratch=self._scheduler is None)
        if changes is None:
            self._stand_by()
            return False
        grants = self._decide(changes)
        if not grants:
            return False
        results = await self._pool.grant(new_id(), grants, self._reasons(changes, grants))
        if "deposed" in results:
            self._stand_by()
            return False
        for (job, _), result in zip(grants, results, strict=True):
            if result in ("granted", "gone"):
                self._tickets.pop(job, None)
            elif job in self._tickets:  # the script saw more than this view: the ticket waits on, the next poll tells
                self._put_back.append(self._tickets[job])
        return True

    def _decide(self, changes: PoolChanges) -> list[tuple[str, str]]:
        if self._scheduler is None or changes.is_all:
            self._stand_by()
            self._scheduler = Scheduler()
        before, self._changes = self._changes, changes
        if before is not None:
            self._scheduler.backend_removed(before.states.keys() - changes.states.keys())
        arrived = [*self._put_back, *(ticket_of(job) for job in changes.arrived)]
        self._put_back = []
        self._tickets.update({ticket.job_id: ticket for ticket in arrived})
        for job_id in changes.left:
            self._tickets.pop(job_id, None)
        grants = [
            *self._scheduler.left(changes.left, changes.at),
            *self._scheduler.backend_changed(views_of(changes), changes.at),
            *self._scheduler.arrived((ticket for ticket in arrived if ticket.job_id in self._tickets), changes.at),
        ]
        return [(grant.job_id, grant.backend) for grant in grants]

    def _reasons(self, changes: PoolChanges, grants: list[tuple[str, str]]) -> dict[str, str]:
        """Why each job goes where it goes, by the pool as it was when that was decided."""
        lines = lines_of(changes)
        reasons = {}
        for job_id, backend in grants:
            if (ticket := self._tickets.get(job_id)) is not None:
                waited_s = max(0.0, changes.at - ticket.arrived_at)
                reasons[job_id] = decision(ticket.checkpoint, ticket.runnable_on, backend, lines, waited_s)
        return reasons

    def _stand_by(self) -> None:
        self._scheduler, self._tickets, self._put_back, self._changes = None, {}, [], None


def ticket_of(job: WaitingJob) -> Ticket:
    """The scheduler's ticket from what entered with the job."""
    fields = msgspec.json.decode(job.ticket)
    fields["runnable_on"] = frozenset(fields["runnable_on"])
    return Ticket(job_id=job.job_id, arrived_at=job.entered_at, **fields)


def ticket_bytes(ticket: Ticket) -> bytes:
    """What enters with a job so that `ticket_of` gives this ticket again; the time of arrival is the store's."""
    return msgspec.json.encode(
        {
            "tenant": ticket.tenant,
            "checkpoint": ticket.checkpoint,
            "runnable_on": sorted(ticket.runnable_on),
            "work": ticket.work,
            "tenant_cap": ticket.tenant_cap,
            "tenant_weight": ticket.tenant_weight,
        }
    )


def views_of(changes: PoolChanges) -> list[BackendView]:
    """Every backend as the scheduler sees it."""
    return [
        BackendView(
            name=name,
            loaded=changes.loaded.get(name, ""),
            usable=state == BackendState.UP,
            running=_running(changes.slots, changes.loaded, name),
        )
        for name, state in sorted(changes.states.items())
    ]


def _running(slots: Mapping[str, SlotView], loaded: Mapping[str, str], name: str) -> Running | None:
    slot = slots.get(name)
    if slot is None:
        return None
    tenant = RECOVERING if slot.is_recovering else slot.tenant_id
    return Running(slot.job_id, tenant, loaded.get(name, ""), slot.since)


def lines_of(seen: PoolChanges) -> dict[str, BackendLine]:
    """Every backend with what holds it, by name."""
    found = {}
    for name in sorted(seen.states.keys() | seen.slots.keys()):
        slot = seen.slots.get(name)
        line = BackendLine(name, seen.states.get(name, "unseen"), seen.loaded.get(name, ""))
        if slot is not None:
            line = BackendLine(
                name, line.state, line.loaded, slot.job_id, slot.tenant_id, slot.since, slot.is_recovering
            )
        found[name] = line
    return found

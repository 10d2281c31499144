"""The dispatcher: whichever process holds the lease drives the one Scheduler for the whole gateway.

All decisions are the Scheduler's; here its events are made from what the store says happened, and its effects are
carried
out by a script that checks the lease. Losing the lease, or a new store, throws the Scheduler away: the next one is
built
from one snapshot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from gateway.domain.backends import BackendState
from gateway.domain.queue import BackendLine, decision
from gateway.domain.scheduling import BackendView, Ending, Grant, Running, Scheduler, Ticket
from gateway.domain.speeds import Row
from gateway.flow.ids import new_id
from gateway.ports import PoolChanges, PoolStore, SlotView, WaitingJob

IDLE_S = 1.0
REMEMBER_EVERY_S = 10.0
UPKEEP = "upkeep-"
RECOVERING = "!"


Recall = Callable[[], Awaitable[Sequence[Row]]]


async def _nothing() -> Sequence[Row]:
    return ()


class Dispatcher:
    """One process's part in dispatching: leading, or standing by once a second."""

    def __init__(
        self, pool: PoolStore, recall: Recall = _nothing, on_lease: Callable[[bool], None] = lambda _has_it: None
    ) -> None:
        """`recall` gives the speeds that were learned before, for when the store has lost them. `on_lease` is told when
        this process gets the lease (true) and when another one has it.
        """
        self._pool = pool
        self._recall = recall
        self._on_lease = on_lease
        self._has_lease = False
        self._scheduler: Scheduler | None = None
        self._tickets: dict[str, Ticket] = {}
        self._put_back: list[Ticket] = []
        self._begun: dict[str, Ticket] = {}
        self._changes: PoolChanges | None = None
        self._remembered_at = 0.0

    @property
    def is_leading(self) -> bool:
        """Whether this process held the lease when it last looked."""
        return self._scheduler is not None

    @property
    def scheduler(self) -> Scheduler | None:
        """The scheduler of the whole gateway, None while standing by; for reading."""
        return self._scheduler

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
        self._tell_lease(has_it=changes is not None)
        if changes is None:
            self._stand_by()
            return False
        if self._scheduler is None or changes.is_all:
            self._stand_by()
            memory = await self._pool.memory()
            self._scheduler = scheduler_with(memory, () if memory else await self._recall())
        grants = self._decide(self._scheduler, changes)
        await self._remember(self._scheduler, changes.at)
        if not grants:
            return False
        return await self._carry_out(self._scheduler, grants, changes)

    async def _carry_out(self, scheduler: Scheduler, grants: list[Grant], changes: PoolChanges) -> bool:
        pairs = [(grant.job_id, grant.backend) for grant in grants]
        results = await self._pool.grant(new_id(), pairs, self._reasons(changes, pairs))
        if "deposed" in results:
            self._tell_lease(has_it=False)
            self._stand_by()
            return False
        for grant, result in zip(grants, results, strict=True):
            ticket = self._tickets.pop(grant.job_id, None)
            if result == "granted":
                continue
            with scheduler.gathering():  # nothing ran there; who is next is decided by what the next poll tells
                scheduler.finished(grant.backend, 0.0, changes.at, Ending.FAILED)
            if result != "gone" and ticket is not None:  # the script saw more than this view
                self._put_back.append(ticket)
        return bool({"granted", "gone"} & set(results))

    def _decide(self, scheduler: Scheduler, changes: PoolChanges) -> list[Grant]:
        before, self._changes = self._changes, changes
        if before is not None:
            scheduler.backend_removed(before.states.keys() - changes.states.keys())
        arrived = [*self._put_back, *(ticket_of(job) for job in changes.arrived)]
        self._put_back = []
        self._tickets.update({ticket.job_id: ticket for ticket in arrived})
        for job_id in changes.left:
            self._tickets.pop(job_id, None)
        with scheduler.gathering():  # a grant decided half-way would be undone by what is told after it
            self._began(scheduler, changes)
            scheduler.left(changes.left, changes.at)
            self._ended(scheduler, changes)
            scheduler.backend_changed(views_of(changes, scheduler.backends, self._begun), changes.at)
            scheduler.arrived([t for t in arrived if t.job_id in self._tickets], changes.at)
        return scheduler.tick(changes.at)

    def _began(self, scheduler: Scheduler, changes: PoolChanges) -> None:
        """Jobs that began by rule 0 are demand; those that are over already are charged here, no slot tells of them."""
        held = {slot.job_id for slot in changes.slots.values()}
        self._begun = {job_id: ticket for job_id, ticket in self._begun.items() if job_id in held}
        for begun in changes.began:
            ticket = ticket_of(WaitingJob(begun.job_id, begun.started_at, begun.ticket))
            if not changes.is_all:  # the scheduler's memory has those
                scheduler.began([ticket], changes.at)
            if begun.job_id in held:
                self._begun[begun.job_id] = ticket
            elif begun.ended_at:
                scheduler.used(ticket.tenant, begun.ended_at - begun.started_at, ticket.tenant_weight)

    def _ended(self, scheduler: Scheduler, changes: PoolChanges) -> None:
        """Tell of each job whose slot is free, or another's, by now.

        A leave wakes the dispatcher only while somebody waits. When nobody does, the end may be seen a second late:
        such a time is charged, but nothing is learned from it.
        """
        ending = Ending.DONE if scheduler.has_waiting else Ending.STOPPED
        for view in list(scheduler.backends.values()):
            slot = changes.slots.get(view.name)
            if view.running is None or not view.running.job_id or (slot is not None and _is_of(slot, view.running)):
                continue
            # A slot that recovers says that the job's end was never seen.
            how = Ending.STOPPED if slot is not None and slot.is_recovering else ending
            scheduler.finished(view.name, changes.at - view.running.started_at, changes.at, how)

    async def _remember(self, scheduler: Scheduler, now: float) -> None:
        """Keep accounts and learned speeds where the next leader, or the next start, finds them."""
        if now - self._remembered_at >= REMEMBER_EVERY_S:
            self._remembered_at = now
            await self._pool.remember(msgspec.json.encode(scheduler.dump()))

    def _reasons(self, changes: PoolChanges, grants: list[tuple[str, str]]) -> dict[str, str]:
        """Why each job goes where it goes, by the pool as it was when that was decided."""
        lines = lines_of(changes)
        reasons = {}
        for job_id, backend in grants:
            if (ticket := self._tickets.get(job_id)) is not None:
                waited_s = max(0.0, changes.at - ticket.arrived_at)
                reasons[job_id] = decision(ticket.checkpoint, ticket.runnable_on, backend, lines, waited_s)
        return reasons

    def _tell_lease(self, *, has_it: bool) -> None:
        if has_it != self._has_lease:
            self._has_lease = has_it
            self._on_lease(has_it)

    def _stand_by(self) -> None:
        self._scheduler, self._tickets, self._put_back, self._begun, self._changes = None, {}, [], {}, None


def scheduler_with(memory: bytes, speeds: Sequence[Row] = ()) -> Scheduler:
    """A scheduler that knows what an earlier one kept; without that, or when it cannot be read, these speeds."""
    try:
        if memory:
            return Scheduler(memory=msgspec.json.decode(memory))
    except (msgspec.DecodeError, TypeError, ValueError, KeyError):
        pass
    return Scheduler(memory={"speeds": speeds})


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
            "upscaler": ticket.upscaler,
            "output_megapixels": ticket.output_megapixels,
        }
    )


def views_of(changes: PoolChanges, known: Mapping[str, BackendView], begun: Mapping[str, Ticket]) -> list[BackendView]:
    """Every backend as the scheduler sees it; of a job that it granted itself it knows more than the slot says, and of
    one that began without it what `begun` says.
    """
    views = []
    for name, state in sorted(changes.states.items()):
        slot, running = changes.slots.get(name), known[name].running if name in known else None
        if slot is None or running is None or not _is_of(slot, running):
            running = _running(slot, changes.loaded.get(name, ""), begun) if slot is not None else None
        views.append(BackendView(name, changes.loaded.get(name, ""), state == BackendState.UP, running))
    return views


def _is_of(slot: SlotView, running: Running) -> bool:
    return slot.job_id == running.job_id and not slot.is_recovering


def _running(slot: SlotView, loaded: str, begun: Mapping[str, Ticket]) -> Running:
    if slot.is_recovering or slot.job_id.startswith(UPKEEP):
        return Running("", RECOVERING if slot.is_recovering else slot.tenant_id, loaded, slot.since)
    ticket = begun.get(slot.job_id)
    if ticket is None:
        return Running(slot.job_id, slot.tenant_id, loaded, slot.since)
    return replace(ticket.started(slot.since), checkpoint=ticket.checkpoint or loaded)


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

"""The queue and single jobs as operators look at them; nothing is changed."""

from __future__ import annotations

from gateway.domain.queue import JobLine, QueueView, WaitingLine, reasons_for
from gateway.domain.usage import Record
from gateway.flow.dispatch import lines_of, ticket_of
from gateway.ports import QueueReader, RecordReader


class Onlooker:
    """Reads the store and the ledger."""

    def __init__(self, store: QueueReader, ledger: RecordReader) -> None:
        self._store = store
        self._ledger = ledger

    async def queue(self) -> QueueView:
        """Who waits and what runs, now. Raises StoreUnavailable."""
        seen = await self._store.queue()
        lines = lines_of(seen)
        waiting = []
        for position, job in enumerate(seen.arrived, start=1):
            ticket = ticket_of(job)
            reasons = reasons_for(ticket.checkpoint, ticket.runnable_on, lines)
            waits_s = max(0.0, seen.at - job.entered_at)
            waiting.append(
                WaitingLine(job.job_id, position, ticket.tenant, ticket.checkpoint, job.entered_at, waits_s, reasons)
            )
        return QueueView(seen.at, tuple(waiting), tuple(lines.values()))

    async def job(self, job_id: str) -> tuple[JobLine | None, Record | None]:
        """What the store knows of it (until an hour after its end) and its record; None where there is none."""
        return await self._store.job(job_id), await self._ledger.find(job_id)

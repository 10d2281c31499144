"""The queue and single jobs as operators look at them; nothing is changed."""

from __future__ import annotations

from dataclasses import replace

from gateway.domain.queue import WAITING, JobLine, QueueView, WaitingLine, reasons_for
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
        seen, foretold = await self._store.queue()
        lines = lines_of(seen)
        waiting = []
        for position, job in enumerate(seen.arrived, start=1):
            ticket = ticket_of(job)
            reasons = reasons_for(ticket.checkpoint, ticket.runnable_on, lines)
            waits_s = max(0.0, seen.at - job.entered_at)
            line = WaitingLine(job.job_id, position, ticket.tenant, ticket.checkpoint, job.entered_at, waits_s, reasons)
            if (told := foretold.get(job.job_id)) is not None:
                starts_in_s = max(0.0, told.starts_at - seen.at)
                line = replace(line, starts_in_s=starts_in_s, ahead=told.position - 1, why=told.why)
            waiting.append(line)
        return QueueView(seen.at, tuple(waiting), tuple(lines.values()))

    async def job(self, job_id: str) -> tuple[JobLine | None, Record | None]:
        """What the store knows of it (until an hour after its end) and its record; None where there is none."""
        line, record = await self._store.job(job_id), await self._ledger.find(job_id)
        if line is not None and line.state == WAITING and (told := await self._store.prospect(job_id)) is not None:
            line = replace(line, why=told.why, starts_at=told.starts_at, ahead=told.position - 1)
        return line, record

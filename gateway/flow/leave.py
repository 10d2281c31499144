"""Leaving: what a job took goes back and its record closes, in one script call that is repeated until it is heard.

A store that lost its data knows nothing of the job, or has lost its record before the ledger had it: then the job is
put back and leaves anew. The ledger keeps one record a job, however often one comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import msgspec

from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Outcome
from gateway.flow.held import HeldJobs
from gateway.flow.ids import new_id
from gateway.ports import JobStore, Leaving, Remembered

MOST_RECENT = 1000  # far more than leave between two writings of the ledger


class Exit:
    """Where jobs end. A leaving that the store did not hear is kept and sent again, under the same operation id."""

    def __init__(self, jobs: JobStore, held: HeldJobs) -> None:
        self._jobs = jobs
        self._held = held
        self._unheard: dict[str, Leaving] = {}
        self._recent: deque[tuple[Remembered, Leaving]] = deque(maxlen=MOST_RECENT)

    @property
    def unheard(self) -> int:
        """How many leavings wait to be sent again."""
        return len(self._unheard)

    async def leave(self, leaving: Leaving) -> None:
        """End the job. Never raises for the store's sake: the answer is the caller's, whether or not the store
        hears.
        """
        try:
            await self._end(leaving)
        except StoreUnavailable:
            # Open: the picture is made and paid for; the record and the slot follow when the store is back.
            self._unheard[leaving.job_id] = leaving
            return

    async def _end(self, leaving: Leaving) -> None:
        job = self._held.get(leaving.job_id)
        remembered = job.remembered() if job is not None else None
        if not await self._jobs.leave(leaving) and remembered is not None:
            await self._end_anew(remembered, leaving)
        if remembered is not None:
            self._recent.append((remembered, leaving))
        self._held.close(leaving.job_id)

    async def _end_anew(self, remembered: Remembered, leaving: Leaving) -> None:
        """Put the job back where the store forgot it, and end it; where the store has its record nothing changes."""
        await self._jobs.restore(new_id(), remembered)
        await self._jobs.leave(replace(leaving, operation_id=new_id()))

    async def end_recent_anew(self) -> None:
        """The store lost data: the latest records may be among them. May raise StoreUnavailable."""
        for remembered, leaving in list(self._recent):
            await self._end_anew(remembered, leaving)

    async def send_again(self) -> None:
        """Repeat what was not heard. Raises StoreUnavailable as soon as the store still does not answer."""
        for job_id, leaving in list(self._unheard.items()):
            await self._end(leaving)
            self._unheard.pop(job_id, None)

    async def disown(self, job_id: str, outcome: Outcome, reason: str) -> None:
        """End a job that the store holds for this process and that no call here knows of. May raise
        StoreUnavailable.
        """
        final = msgspec.json.encode({"reason": reason})
        await self._jobs.leave(Leaving(new_id(), job_id, outcome, final=final, is_abandoned=True))

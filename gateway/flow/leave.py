"""Leaving: what a job took goes back and its record closes, in one script call that is repeated until it is heard."""

from __future__ import annotations

import msgspec

from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Outcome
from gateway.flow.held import HeldJobs
from gateway.flow.ids import new_id
from gateway.ports import JobStore, Leaving


class Exit:
    """Where jobs end. A leaving that the store did not hear is kept and sent again, under the same operation id."""

    def __init__(self, jobs: JobStore, held: HeldJobs) -> None:
        self._jobs = jobs
        self._held = held
        self._unheard: dict[str, Leaving] = {}

    @property
    def unheard(self) -> int:
        """How many leavings wait to be sent again."""
        return len(self._unheard)

    async def leave(self, leaving: Leaving) -> None:
        """End the job. Never raises for the store's sake: the answer is the caller's, whether or not the store
        hears.
        """
        try:
            await self._jobs.leave(leaving)
        except StoreUnavailable:
            # Open: the picture is made and paid for; the record and the slot follow when the store is back.
            self._unheard[leaving.job_id] = leaving
            return
        self._held.close(leaving.job_id)

    async def send_again(self) -> None:
        """Repeat what was not heard. Raises StoreUnavailable as soon as the store still does not answer."""
        for job_id, leaving in list(self._unheard.items()):
            await self._jobs.leave(leaving)
            self._unheard.pop(job_id, None)
            self._held.close(job_id)

    async def disown(self, job_id: str, outcome: Outcome, reason: str) -> None:
        """End a job that the store holds for this process and that no call here knows of. May raise
        StoreUnavailable.
        """
        final = msgspec.json.encode({"reason": reason})
        await self._jobs.leave(Leaving(new_id(), job_id, outcome, final=final, is_abandoned=True))

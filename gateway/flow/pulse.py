"""This process's tie to the store: it says that it lives, hears what changed, and hears which waiting job has a
backend.

A store that lost data is told again what this process holds, before anything else is asked of it; it grants nothing for
one lease, so that every process has done so first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from gateway.domain.backends import Condition
from gateway.domain.errors import StoreUnavailable
from gateway.domain.jobs import Outcome
from gateway.flow.authenticate import Epoch
from gateway.flow.held import HeldJobs
from gateway.flow.ids import new_id
from gateway.flow.leave import Exit
from gateway.flow.snapshot import CurrentCatalogue
from gateway.ports import Beat, JobStore, PoolStore, Woken

BEAT_S = 1.0
LISTEN_S = 1.0
LOOKED_AT_ONCE = 500  # waiting jobs a second: thousands that wait must not cost more than hundreds


class Pulse:
    """The heartbeat and the ear of one process; each is a loop for the Supervisor.

    `standings`: every backend's state and its condition, as of the last heartbeat.
    """

    def __init__(
        self,
        jobs: JobStore,
        pool: PoolStore,
        held: HeldJobs,
        way_out: Exit,
        epoch: Epoch,
        current: CurrentCatalogue,
    ) -> None:
        self._jobs = jobs
        self._pool = pool
        self._held = held
        self._exit = way_out
        self._owes_all = False
        self._looked_up_to = 0
        self._epoch = epoch
        self._current = current
        self._clock: Callable[[], float] = lambda: asyncio.get_running_loop().time()
        self.standings: Mapping[str, tuple[str, Condition]] = {}
        self._standings_of = ""
        self.last_beat: Beat | None = None
        self.last_heard = 0.0

    async def beat_for_ever(self) -> None:
        """One heartbeat a second. Errors of the store end it, to be started again."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    async def beat_last(self, within_s: float) -> None:
        """The process ends: beat on while leavings are unheard, for that long at most.

        What is unheard then ends with this process's lease, as lost.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._exit.unheard:
                    with suppress(StoreUnavailable):
                        await self.beat()
                        break
                    await asyncio.sleep(BEAT_S / 2)

    async def beat(self) -> None:
        """One heartbeat, and what follows from its answer. Raises StoreUnavailable."""
        sent_at = self._clock()
        beat = await self._jobs.beat(len(self._held))
        self.last_beat, self.last_heard = beat, self._clock()
        self._epoch.current = beat.epoch
        self._owes_all = self._owes_all or beat.has_lost_data
        if self._owes_all:
            await self._put_back()
        elif beat.held is not None:
            # What nobody here answers for was admitted by an enter whose reply never came: its caller has its 503.
            for job_id in self._held.reconcile(beat.held, sent_at):
                await self._exit.disown(job_id, Outcome.FAILED, "the store's answer to entering was lost")
        await self._exit.send_again()
        if (version := f"{beat.generation} {beat.states_version}") != self._standings_of:
            self.standings, self._standings_of = await self._pool.standings(), version
        if beat.catalogue_version:  # a store that lost the lists gets them again: until then those known are used
            await self._current.refresh(self._pool, f"{beat.generation} {beat.catalogue_version}", beat.at)

    async def _put_back(self) -> None:
        """Everything held here, then the records that may not have reached the ledger. Repeated until it was heard."""
        for job in self._held.admitted():
            remembered = job.remembered()
            if remembered is not None and job.job_id in self._held:
                await self._jobs.restore(new_id(), remembered)
        for job_id, backend in self._held.upkeep():
            await self._pool.hold(new_id(), job_id, backend, is_under_way=True)
        await self._exit.end_recent_anew()
        self._owes_all = False

    async def listen_for_ever(self) -> None:
        """Deliver every word of a granted backend; once a second look whether one was missed."""
        looked_at = self._clock()
        while True:
            message = await self._jobs.next_message(LISTEN_S)
            if message is not None:
                self._held.deliver(message)
            if self._clock() - looked_at >= LISTEN_S:
                looked_at = self._clock()
                await self._look()

    async def _look(self) -> None:
        """A word can be lost with its connection; the waiting jobs are looked up themselves, so many each time."""
        waiting = self._held.waiting()
        first = self._looked_up_to % max(1, len(waiting))
        for job_id, granted in (await self._jobs.look(waiting[first : first + LOOKED_AT_ONCE])).items():
            self._held.deliver(Woken(job_id, granted))
        self._looked_up_to = first + LOOKED_AT_ONCE if first + LOOKED_AT_ONCE < len(waiting) else 0
